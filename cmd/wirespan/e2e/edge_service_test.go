package e2e

import (
	"os"
	"path/filepath"
)

// installs puts a file of the folder deploy into a box that is off. It is in /state there.
func (b *edgeBox) installs(file, as string) {
	b.Helper()
	content, err := os.ReadFile(filepath.Join("../../../", file))
	if err != nil {
		b.Fatal(err)
	}
	b.put(as, string(content))
}

// edgeOpenWrt checks the service of OpenWrt and its configuration, with a stand-in for procd:
// the agent and the commands agree on where state and socket are.
func edgeOpenWrt(l *edgeLab, m edgeMachine) {
	b := l.box(m)
	b.installs("deploy/openwrt/wirespan.init", "init")
	b.installs("deploy/openwrt/config.yaml", "config.yaml")
	b.installs("testdata/edge/rc.common", "rc.common")
	b.boot()
	b.runs(`mkdir -p /etc/wirespan /state/etc && mount --bind /state/etc /etc/wirespan && cp /state/config.yaml /etc/wirespan/
		rm -rf /var; ln -s /tmp /var; ln -s /flash/wirespan /usr/bin/wirespan
		wirespan join --no-start @/state/token
		sh /state/rc.common /state/init start`)
	b.meets()
	b.carries()
	b.runs(`[ -e /etc/wirespan/state/cluster.yaml ] && [ ! -e /var/lib/wirespan ]
		echo "nodename: renamed" >>/etc/wirespan/config.yaml
		sh /state/rc.common /state/init reload`)
	eventually(b.T, within, func() error { return b.founder.sees("renamed") })
}

// edgeRunit checks the service of runit with Debian's runit: the agent is started again when
// it dies, reads its configuration again, and stops.
func edgeRunit(l *edgeLab, m edgeMachine) {
	b := l.box(m)
	b.installs("deploy/runit/run", "run")
	b.installs("deploy/runit/log/run", "log")
	b.boot()
	b.runs(`mkdir -p /etc/sv/wirespan/log /etc/wirespan /var/lib /var/log /state/lib
		mount --bind /state/lib /var/lib; ln -s /flash/wirespan /usr/bin/wirespan
		cp /state/run /etc/sv/wirespan/run; cp /state/log /etc/sv/wirespan/log/run; chmod +x /etc/sv/wirespan/run /etc/sv/wirespan/log/run
		wirespan join --no-start @/state/token
		runsv /etc/sv/wirespan >/dev/null 2>&1 &`)
	const pid = "cat /etc/sv/wirespan/supervise/pid"
	eventually(b.T, within, func() error {
		_, err := b.script("[ -s /var/log/wirespan/current ] && " + pid + " >/tmp/pid")
		return err
	})
	b.meets()
	b.runs("kill -9 $(cat /tmp/pid)")
	eventually(b.T, within, func() error {
		_, err := b.script("[ -n \"$(" + pid + ")\" ] && [ \"$(" + pid + ")\" != \"$(cat /tmp/pid)\" ] && " + pid + " >/tmp/pid")
		return err
	})
	b.meets()
	b.carries()
	b.runs("printf 'apiVersion: v1alpha1\\nkind: WirespanConfig\\nnodename: renamed\\n' >/etc/wirespan/config.yaml; sv reload /etc/sv/wirespan")
	eventually(b.T, within, func() error { return b.founder.sees("renamed") })
	b.runs("sv down /etc/sv/wirespan; while kill -0 $(cat /tmp/pid) 2>/dev/null; do usleep 50000; done; sv status /etc/sv/wirespan | grep ^down")
}

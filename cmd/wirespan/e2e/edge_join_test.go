package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// edgeJoin checks that a box joins with a TUN, and that packets pass.
func edgeJoin(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot()
	b.joins()
	b.carries()
}

// edgeJoinNetstack checks the same with the netstack, which programs reach by forwards. The
// edge build says that it has none.
func edgeJoinNetstack(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot()
	if !l.isFull(m) {
		b.refuses("edge build", "--backend netstack --join @/state/token")
		return
	}
	b.joins("--backend netstack", netstackForwards)
	b.carriesByForwards()
}

// edgeNarrow checks that packets pass with an MTU of 1280.
func edgeNarrow(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot("MTU=1280")
	b.joins()
	b.carries()
}

// edgeLateNIC checks that a box joins whose NIC comes 30 s after the agent, and that its mesh
// address is the same when the NIC is there from the start.
func edgeLateNIC(l *edgeLab, m edgeMachine) {
	b := l.box(m)
	b.put("boot", "wirespan up --state-dir /state/wirespan --join @/state/token >/tmp/log 2>&1 & echo $! >/tmp/pid")
	b.boot("LATE=30")
	b.meets()
	b.carries()
	late := b.meshAddress()
	b.stops()
	b.cut()
	b.boot()
	b.meets()
	if at := b.meshAddress(); at != late {
		b.Errorf("with the NIC from the start the mesh address is %s, before it was %s", at, late)
	}
}

// edgeAddressChange checks that the founder reaches a box again whose address has changed.
func edgeAddressChange(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot()
	b.joins()
	b.moves("10.90.0.77", func() {
		// The answer to the script would go to the address before.
		b.runs("(usleep 500000; interface=eth0 ip=10.90.0.77 mask=24 router=10.90.0.254 /dhcp bound) >/dev/null 2>&1 &")
	})
}

// edgeDHCP checks the same when the address is a lease, which the server no longer grants.
// udhcpc(8) has no address for 3 s then.
func edgeDHCP(l *edgeLab, m edgeMachine) {
	b := l.box(m)
	before := b.leases(b.address)
	b.boot("DHCP=1")
	b.joins()
	b.moves("10.90.0.77", func() {
		before.end(b.T, syscall.SIGTERM)
		b.leases("10.90.0.77")
		b.runs("kill -USR1 $(cat /run/udhcpc.pid)") // renew
	})
}

// leases starts a DHCP server for one address.
func (b *edgeBox) leases(address string) *labProcess {
	b.Helper()
	return b.via.spawn("leases", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=",
		"--port=0", "--interface=br0", "--dhcp-authoritative", "--no-ping", "--dhcp-option=option:router,10.90.0.254",
		"--dhcp-leasefile="+filepath.Join(b.dir, "leases-"+address), "--dhcp-range="+address+","+address+",2m")
}

// moves changes the address of the box, and checks that packets pass again. The log of the
// test says how many pings of the founder were not answered.
func (b *edgeBox) moves(to string, change func()) {
	b.Helper()
	b.carries()
	pings := b.founder.spawn("pings", "ping", "-O", "-i", "0.1", b.meshAddress().String())
	change()
	b.address = to
	eventually(b.T, within, func() error { _, err := b.script("true"); return err })
	eventually(b.T, time.Minute, func() error { return b.founder.ping(b.meshAddress(), "-c", "1", "-W", "1") })
	eventually(b.T, time.Minute, func() error {
		p, err := b.founder.peer("box")
		if err == nil && p.Endpoint.Addr().String() != to {
			err = fmt.Errorf("the founder sends to %s", p.Endpoint)
		}
		return err
	})
	b.carries()
	pings.end(b.T, syscall.SIGINT)
	b.Logf("of pings each 0.1 s, %d of %d were not answered at once", pings.count("no answer yet"), pings.count("icmp_seq="))
}

// edgeNoName checks that a box that was given no name does not announce the kernel's "(none)".
func edgeNoName(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot("BOXNAME=")
	if name := b.runs("hostname"); name != "(none)\n" {
		b.Fatalf("the kernel's name for the box is %q", name)
	}
	b.up("--join @/state/token")
	eventually(b.T, 90*time.Second, func() error {
		peers := b.founder.mustStatus().Peers
		if len(peers) != 1 || peers[0].State != mesh.PeerStateUp {
			return errors.New("the box is not up")
		}
		return nil
	})
	for _, what := range []string{"affiliates", "members"} {
		if out := b.founder.mustCLI("get", what, "-o", "yaml"); strings.Contains(out, "none") {
			b.Errorf("the box announces a name that is none:\n%s", out)
		}
	}
}

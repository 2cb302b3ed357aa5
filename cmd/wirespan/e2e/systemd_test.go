package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bootScript boots systemd on a copy of this machine's file system that is written to memory
// only, in namespaces of its own: bootScript DIRECTORY HOSTNAME. It has no way to set the
// clock, which is that of the whole machine.
const bootScript = `set -e
cd "$1"; mkdir up work root
mount --make-rprivate /
mount -t overlay -o lowerdir=/,upperdir=$1/up,workdir=$1/work overlay root
for d in proc sysfs:sys cgroup2:sys/fs/cgroup tmpfs:run tmpfs:tmp tmpfs:dev; do
	mount -t ${d%:*} ${d%:*} root/${d#*:}
done
chmod 755 root/dev root/run; chmod 1777 root/tmp
mkdir root/dev/net root/dev/pts root/dev/shm
for d in null zero full random urandom tty net/tun; do
	touch root/dev/$d; mount --bind /dev/$d root/dev/$d
done
mount -t devpts -o newinstance,ptmxmode=0666 devpts root/dev/pts
ln -s pts/ptmx root/dev/ptmx; ln -s /proc/self/fd root/dev/fd
rm -rf root/etc/systemd/system root/etc/wirespan root/var/lib/wirespan root/etc/default/wirespan
echo "$2" >root/etc/hostname; hostname "$2"; : >root/etc/machine-id; rm -rf root/var/log/journal
cd root; mkdir -p old; pivot_root . old; umount -l /old
exec chroot . env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv \
	--bounding-set=-sys_time,-sys_rawio,-sys_module,-sys_boot,-syslog \
	/lib/systemd/systemd --unit=basic.target --log-target=null --show-status=no
`

// machine is a booted systemd.
type machine struct {
	*testing.T
	pid string
}

// boot boots a machine with the units, and with the binary as /usr/bin/wirespan.
func boot(t *testing.T, binary, name string) *machine {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(exec.Command("mount", "-t", "tmpfs", "tmpfs", dir).Run())
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	group := filepath.Join(cgroups(t), fmt.Sprintf("ws%d-%s", os.Getpid(), name))
	must(os.Mkdir(group, 0o755))
	cmd := exec.Command("sh", "-c", `echo $$ >"$3/cgroup.procs"; exec unshare -m -u -i -n -C -p -f --kill-child sh -c "$0" boot "$1" "$2"`, bootScript, dir, name, group)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	must(cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // and with it all of the namespace
		_ = cmd.Wait()
		eventually(t, within, func() error {
			out, err := exec.Command("find", group, "-depth", "-type", "d", "-delete").CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		})
	})
	m := &machine{T: t}
	eventually(t, within, func() error {
		out, err := exec.Command("pgrep", "-P", strconv.Itoa(cmd.Process.Pid)).Output()
		if m.pid = strings.TrimSpace(string(out)); err != nil {
			return fmt.Errorf("no machine: %w\n%s", err, output.String())
		}
		if state := m.output("systemctl", "is-system-running"); state != "running" && state != "degraded" {
			return errors.New("the machine is " + state)
		}
		return nil
	})
	repo, err := filepath.Abs("../../..")
	must(err)
	m.run("mkdir", "-p", "/repo/bin")
	m.send(binary, "/repo/bin/wirespan")
	m.shell("cp -r " + repo + "/deploy " + repo + "/Makefile /repo/ && make -C /repo install")
	m.shell("ip link set lo up && mkdir -p /etc/wirespan")
	return m
}

// cgroups returns where the second version of control groups is mounted.
func cgroups(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("findmnt", "-n", "-o", "TARGET", "-t", "cgroup2").Output()
	if err != nil {
		t.Fatalf("cgroup2 is not mounted: %v", err)
	}
	return strings.Fields(string(out))[0]
}

// command returns a command that runs on the machine.
func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", m.pid, "-m", "-u", "-i", "-n", "-C", "-p", "--"}, args...)...)
	cmd.Env = cleanEnvironment()
	return cmd
}

// send copies a file of this machine to that one.
func (m *machine) send(from, to string) {
	m.Helper()
	f, err := os.Open(from)
	if err != nil {
		m.Fatal(err)
	}
	defer f.Close()
	cmd := m.command("sh", "-c", `cat >"$0.new" && chmod 755 "$0.new" && mv "$0.new" "$0"`, to)
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		m.Fatalf("sending %s: %v\n%s", to, err, out)
	}
}

// output returns what a command prints, whatever it exits with.
func (m *machine) output(args ...string) string {
	out, _ := m.command(args...).CombinedOutput()
	return strings.TrimSpace(string(out))
}

// run runs a command that must succeed, within a minute.
func (m *machine) run(args ...string) string {
	m.Helper()
	out, err := m.command(append([]string{"timeout", "60"}, args...)...).CombinedOutput()
	if err != nil {
		m.Fatalf("%q: %v\n%s\n%s", args, err, out, m.output("journalctl", "-n", "40", "--no-pager"))
	}
	return strings.TrimSpace(string(out))
}

func (m *machine) shell(script string) string { m.Helper(); return m.run("sh", "-c", script) }

// prints fails unless a command succeeds and prints what is wanted.
func (m *machine) prints(want string, args ...string) {
	m.Helper()
	if out := m.run(args...); !strings.Contains(out, want) {
		m.Errorf("%q prints %q, want %q in it", args, out, want)
	}
}

// property returns a property of the agent's service.
func (m *machine) property(name string) string {
	m.Helper()
	return m.run("systemctl", "show", "--value", "-p", name, "wirespan")
}

// TestSystemd runs the agent as a service of a real systemd.
func TestSystemd(t *testing.T) {
	if os.Getenv("WIRESPAN_SYSTEMD") == "" {
		t.Skip("runs by make systemd")
	}
	requireTools(t)
	binary := buildBinary(t)
	box1, box2 := boot(t, binary, "box1"), boot(t, binary, "box2")
	if out, err := exec.Command("nsenter", "-t", box1.pid, "-n", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", box2.pid).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, m := range []*machine{box1, box2} {
		m.shell(fmt.Sprintf("ip address add 192.0.2.%d/24 dev eth0 && ip link set eth0 up && ip route add default via 192.0.2.9", i+1))
	}
	box1.run("systemctl", "enable", "--now", "wirespan", "wirespan-firewall")
	for _, step := range []struct {
		name string
		run  func(box1, box2 *machine)
	}{
		{"Join", serviceJoins},
		{"Group", serviceGroup},
		{"Journal", serviceJournal},
		{"Forwarding6", serviceForwards6},
		{"Reload", serviceReloads},
		{"Upgrade", serviceUpgraded},
		{"Watchdog", serviceWatchdog},
		{"Together", unitsTogether},
		{"ClockBehind", serviceClockBehind},
		{"ClockFarBehind", serviceClockFarBehind},
		{"Netstack", serviceNetstack},
	} {
		if ok := t.Run(step.name, func(t *testing.T) {
			here := *box1
			there := *box2
			here.T, there.T = t, t
			step.run(&here, &there)
		}); !ok {
			t.Fatal("the next steps need this one")
		}
	}
}

func serviceJoins(box1, box2 *machine) {
	token := box1.run("wirespan", "token")
	box2.shell("umask 077; echo " + token + " >/root/token")
	box2.prints("systemctl enable --now wirespan", "wirespan", "join", "@/root/token")
	box2.run("systemctl", "enable", "--now", "wirespan")
	box2.run("wirespan", "wait", "box1", "--timeout", "30")
	box2.run("wirespan", "ping", "-c", "1", "box1")
	box2.shell("! test -e /var/lib/wirespan/join && ! test -e /var/lib/wirespan/join-token")
	box2.run("systemctl", "restart", "wirespan")
	box2.run("wirespan", "wait", "box1", "--timeout", "30")
}

func serviceGroup(box1, _ *machine) {
	look := func(groups string) string {
		return box1.output("setpriv", "--reuid", "4321", "--regid", "4321", groups, "wirespan", "status")
	}
	if out := look("--groups=" + box1.shell("getent group wirespan | cut -d: -f3")); !strings.Contains(out, "State:") {
		box1.Errorf("a member of the group: %s", out)
	}
	if out := look("--clear-groups"); !strings.Contains(out, "permission denied") {
		box1.Errorf("another user: %s", out)
	}
	pid := box1.property("MainPID")
	if caps := box1.shell("grep CapEff /proc/" + pid + "/status"); !strings.HasSuffix(caps, "0000000000001000") {
		box1.Errorf("the agent runs with %s", caps)
	}
}

func serviceJournal(box1, _ *machine) {
	if out := box1.run("journalctl", "-u", "wirespan", "-o", "cat", "--no-pager"); strings.Contains(out, "Z [") || !strings.Contains(out, "[INFO]") {
		box1.Errorf("messages with a time:\n%s", out)
	}
	if out := box1.run("journalctl", "-u", "wirespan", "-p", "warning", "-o", "cat", "--no-pager"); strings.Contains(out, "[INFO]") {
		box1.Errorf("warnings:\n%s", out)
	}
}

func serviceForwards6(box1, _ *machine) {
	box1.shell("ip link add lan type veth peer name host && ip address add fd99::1/64 dev lan nodad && ip link set lan up && ip link set host up")
	box1.shell(`printf 'apiVersion: v1alpha1\nkind: WirespanConfig\nadvertisedNetworks: [fd99::/64]\n' >/etc/wirespan/config.yaml`)
	box1.run("systemctl", "reload", "wirespan")
	eventually(box1.T, within, func() error {
		if out := box1.output("sh", "-c", "cat /proc/sys/net/ipv6/conf/lan/force_forwarding /proc/sys/net/ipv6/conf/all/forwarding"); !strings.Contains(out, "1") {
			return fmt.Errorf("forwarding is %q", out)
		}
		return nil
	})
}

func serviceReloads(box1, box2 *machine) {
	pid := box1.property("MainPID")
	box1.run("systemctl", "reload", "wirespan")
	box1.run("systemctl", "kill", "-s", "HUP", "wirespan")
	box1.run("wirespan", "wait", "box2", "--timeout", "30")
	box2.run("wirespan", "wait", "box1", "--timeout", "30")
	if now := box1.property("MainPID"); now != pid {
		box1.Errorf("reloaded, process %s is %s", pid, now)
	}
}

// serviceUpgraded replaces the binary, which runs.
func serviceUpgraded(box1, _ *machine) {
	box1.shell("cp /usr/bin/wirespan /usr/bin/wirespan.new && mv /usr/bin/wirespan.new /usr/bin/wirespan")
	box1.run("systemctl", "reload", "wirespan")
	box1.run("systemctl", "restart", "wirespan")
	box1.run("wirespan", "wait", "box2", "--timeout", "60")
}

func serviceWatchdog(box1, _ *machine) {
	box1.shell(`mkdir -p /run/systemd/system/wirespan.service.d && printf '[Service]\nWatchdogSec=2s\n' >/run/systemd/system/wirespan.service.d/w.conf && systemctl daemon-reload`)
	box1.run("systemctl", "restart", "wirespan")
	pid := box1.property("MainPID")
	box1.run("kill", "-STOP", pid)
	eventually(box1.T, 30*time.Second, func() error {
		if now := box1.property("MainPID"); now == "0" || now == pid || box1.property("ActiveState") != "active" {
			return errors.New("the agent was not restarted")
		}
		return nil
	})
	box1.shell("rm -r /run/systemd/system/wirespan.service.d && systemctl daemon-reload && systemctl restart wirespan")
}

// unitsTogether starts both units at once, and one beside the other, 20 times each.
func unitsTogether(box1, _ *machine) {
	for i := range 20 {
		box1.run("systemctl", "stop", "wirespan", "wirespan-firewall")
		switch i % 3 {
		case 0:
			box1.run("systemctl", "start", "wirespan", "wirespan-firewall")
		case 1:
			box1.shell("systemctl start wirespan & systemctl start wirespan-firewall && wait $!")
		case 2:
			box1.run("systemctl", "start", "wirespan")
			box1.run("systemctl", "start", "wirespan-firewall")
		}
		if restarts := box1.property("NRestarts"); restarts != "0" {
			box1.Fatalf("start %d: the agent was restarted %s times", i, restarts)
		}
		box1.run("systemctl", "is-active", "wirespan", "wirespan-firewall")
		box1.run("systemctl", "reset-failed")
	}
}

// startsBehind starts the agent with a clock that is behind its last run.
func (m *machine) startsBehind(by string) {
	m.Helper()
	m.shell("systemctl stop wirespan; systemctl reset-failed; date -u -d '" + by + "' +%FT%TZ >/var/lib/wirespan/clock")
	m.run("systemctl", "start", "wirespan")
	m.prints("ClockBehind", "wirespan", "status")
	if m.property("NRestarts") != "0" {
		m.Error("the agent was restarted")
	}
}

func serviceClockBehind(box1, _ *machine)    { box1.startsBehind("3 days") }
func serviceClockFarBehind(box1, _ *machine) { box1.startsBehind("3 years") }

// serviceNetstack runs the other data plane with a clock behind.
func serviceNetstack(box1, _ *machine) {
	box1.shell("mkdir -p /etc/default && echo WIRESPAN_BACKEND=netstack >/etc/default/wirespan")
	box1.startsBehind("2 hours")
	box1.prints("netstack", "wirespan", "status")
	box1.run("wirespan", "down")
}

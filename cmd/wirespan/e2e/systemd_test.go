package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	for _, m := range []*machine{box1, box2} {
		m.strict()
	}
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
		{"Repair", serviceRepairs},
		{"Netstack", serviceNetstack},
		{"SystemCalls", serviceCalls},
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

// strict makes a system call that the units don't allow kill the agent, instead of failing,
// apart from those that set the clock. How the agent ends is noted in endings.
func (m *machine) strict() {
	m.Helper()
	for _, unit := range []string{"wirespan", "wirespan-firewall"} {
		dir := "/etc/systemd/system/" + unit + ".service.d"
		m.shell("mkdir -p " + dir + ` && printf '[Service]\nSystemCallErrorNumber=\nSystemCallFilter=~settimeofday:EPERM clock_settime:EPERM\n' >` + dir + "/strict.conf")
	}
	m.shell(`printf 'ExecStopPost=/bin/sh -c "echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS >>` + endings + `"\n' >>/etc/systemd/system/wirespan.service.d/strict.conf`)
	m.run("systemctl", "daemon-reload")
}

const endings = "/run/wirespan/endings"

// serviceCalls checks that no call that the units don't allow has killed the agent.
func serviceCalls(box1, box2 *machine) {
	for _, m := range []*machine{box1, box2} {
		m.run("systemctl", "stop", "wirespan")
		out := m.run("cat", endings)
		if !strings.Contains(out, "success exited 0") || strings.Contains(out, "SYS") {
			m.Errorf("the agent ended so:\n%s", out)
		}
		if out := m.run("systemctl", "show", "--value", "-p", "Result", "wirespan-firewall"); out != "success" {
			m.Errorf("wirespan-firewall: %s", out)
		}
	}
}

// installed returns the commands of a box in the README's chapter about installing.
func installed(t *testing.T) [][2]string {
	t.Helper()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(text), "\n## Install\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	var out [][2]string
	for _, m := range regexp.MustCompile(`(?m)^(box\d)\$ (.*)$`).FindAllStringSubmatch(chapter, -1) {
		out = append(out, [2]string{m[1], m[2]})
	}
	if len(out) < 3 {
		t.Fatalf("README has the commands %q", out)
	}
	return out
}

// serviceJoins does what the README says. The second box has another state directory.
func serviceJoins(box1, box2 *machine) {
	box2.shell(`printf '# settings\nWIRESPAN_STATE_DIR="/var/lib/wirespan/here"\n' >/etc/default/wirespan`)
	for name, m := range map[string]*machine{"box1": box1, "box2": box2} {
		m.shell(`printf '#!/bin/sh\nexec "$@"\n' >/usr/local/bin/sudo && printf '#!/bin/sh\ncp "$1" /root/sent\n' >/usr/local/bin/scp && chmod 755 /usr/local/bin/s*`)
		m.shell("cat /etc/default/wirespan 2>/dev/null; systemctl is-active wirespan && exit 1 || echo " + name + " is new")
	}
	for _, c := range installed(box1.T) {
		m := map[string]*machine{"box1": box1, "box2": box2}[c[0]]
		m.shell("cd /root && " + c[1])
		if strings.Contains(c[1], "scp ") {
			box2.shell("umask 077; echo " + box1.run("cat", "/root/sent") + " >/root/token")
		}
	}
	box2.run("wirespan", "wait", "box1", "--timeout", "30")
	box2.run("systemctl", "is-enabled", "wirespan")
	box2.shell("cd /var/lib/wirespan && test -e here/cluster.yaml && ! test -e here/join && ! test -e here/join-token && ! test -e cluster.yaml")
	box2.run("systemctl", "restart", "wirespan")
	box2.run("wirespan", "wait", "box1", "--timeout", "30")
	box2.prints("systemctl restart wirespan", "wirespan", "join", "@/root/token", "--no-start")
	box1.run("systemctl", "enable", "--now", "wirespan-firewall")
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

// serviceUpgraded replaces the binary, which runs, by one with another version.
func serviceUpgraded(box1, box2 *machine) {
	look := func() (version, address string) {
		var status struct {
			Version string `json:"version"`
			Node    struct {
				Address string `json:"address"`
			} `json:"node"`
		}
		if err := json.Unmarshal([]byte(box1.run("wirespan", "status", "-o", "json")), &status); err != nil {
			box1.Fatal(err)
		}
		return status.Version, status.Node.Address
	}
	version, address := look()
	next := version[:len(version)-1] + "~" // as long, so that it can be put in its place
	binary, err := os.ReadFile(buildBinary(box1.T))
	if err != nil {
		box1.Fatal(err)
	}
	file := filepath.Join(box1.TempDir(), "wirespan")
	if err := os.WriteFile(file, bytes.ReplaceAll(binary, []byte("\t"+version), []byte("\t"+next)), 0o755); err != nil {
		box1.Fatal(err)
	}
	box1.send(file, "/usr/bin/wirespan")
	box1.prints(next, "wirespan", "version")
	box1.run("systemctl", "reload", "wirespan") // by the new one, of the old one
	box1.run("systemctl", "restart", "wirespan")
	box1.run("wirespan", "wait", "box2", "--timeout", "60")
	box2.run("wirespan", "wait", "box1", "--timeout", "60")
	box2.run("wirespan", "ping", "-c", "1", "box1")
	if now, at := look(); now != next || at != address {
		box1.Errorf("version %s at %s after the upgrade of %s at %s to %s", now, at, version, address, next)
	}
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

// serviceRepairs has others harm what the agent set up, and asks it for all that it tells.
func serviceRepairs(box1, _ *machine) {
	box1.run("nft", "delete", "table", "inet", "wirespan")
	box1.run("ip", "rule", "delete", "priority", "32500")
	box1.run("ip", "link", "set", "wirespan0", "mtu", "1300")
	box1.run("ss", "-K", "-u", "-a", "sport", "=", "51820")
	eventually(box1.T, within, func() error {
		out, err := box1.command("sh", "-c", "nft list table inet wirespan && ip rule show priority 32500 | grep -q .").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	for _, command := range []string{
		"wirespan ping -c 2 box2", "wirespan explain fd99::1", "wirespan get peers -o json", "wirespan get conflicts",
		"wg show wirespan0", "curl -sf --unix-socket /run/wirespan/wirespan.sock http://agent/metrics",
		"wirespan status --check live", "wirespan validate",
	} {
		box1.shell(command)
	}
}

// serviceNetstack runs the other data plane with a clock behind.
func serviceNetstack(box1, _ *machine) {
	box1.shell("mkdir -p /etc/default && echo WIRESPAN_BACKEND=netstack >/etc/default/wirespan")
	box1.startsBehind("2 hours")
	box1.prints("netstack", "wirespan", "status")
	box1.run("wirespan", "down")
}

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh/agent"
)

// edgeMachine is a kind of emulated box. Its kernel, initramfs and flash are in a folder of
// its name that testdata/edge/images.sh has filled.
type edgeMachine struct {
	name   string
	qemu   []string
	bus    string // how devices of virtio are attached
	kernel string // its command line
	memory int    // in MB
}

var edgeMachines = []edgeMachine{
	{"armv7", []string{"qemu-system-arm", "-M", "virt,highmem=off", "-cpu", "cortex-a7"}, "device", "console=ttyAMA0 cma=0", 128},
	{"mipsle", []string{"qemu-system-mipsel", "-M", "malta", "-cpu", "24Kf"}, "pci", "console=ttyS0", 128},
	{"amd64", []string{"qemu-system-x86_64", "-M", "pc", "-cpu", "qemu64", "-accel", "tcg"}, "pci", "console=ttyS0 notsc clocksource=acpi_pm", 128}, // on a busy host the TSC is taken for slower than it is
}

// edgeLab is a lab with a founder and one emulated box, both on the switch.
type edgeLab struct {
	*lab
	folder  string // of images.sh
	founder *labNode
	token   string
}

// edgeBox is an emulated box.
type edgeBox struct {
	*edgeLab
	machine edgeMachine
	via     *labHost // the switch, from which the box is reached
	address string
	disk    string
	proc    *labProcess
}

// bootTimeout is how long an emulated box may take to boot on a busy machine.
const bootTimeout = 2 * time.Minute

// box plugs a box into the switch, with a disk of 16 MB on which is the founder's token.
func (l *edgeLab) box(machine edgeMachine) *edgeBox {
	l.Helper()
	l.hosts++
	b := &edgeBox{
		edgeLab: l, machine: machine, disk: filepath.Join(l.dir, machine.name+".disk"),
		via:     &labHost{lab: l.lab, name: "switch", ns: l.prefix + "switch"},
		address: fmt.Sprintf("10.90.0.%d", l.hosts),
	}
	b.must("mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum,^64bit", b.disk, "16M")
	b.via.ip("tuntap add tobox mode tap")
	b.via.ip("link set tobox master br0 up")
	b.put("token", l.token)
	return b
}

// put writes a file to the disk of a box that is off. The box runs the file boot when it
// boots. The journal of the disk is replayed first: the box was not shut down.
func (b *edgeBox) put(name, content string) {
	b.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	replay := exec.Command("e2fsck", "-p", "-E", "journal_only", b.disk)
	if out, err := replay.CombinedOutput(); err != nil && replay.ProcessState.ExitCode() != 1 { // 1: it was replayed
		b.Fatalf("e2fsck: %v\n%s", err, out)
	}
	b.must("debugfs", "-w", "-R", "rm "+name, b.disk)
	b.must("debugfs", "-w", "-R", "write "+path+" "+name, b.disk)
}

// power turns the box on, with settings that testdata/edge/init reads. What comes after
// the first setting without a = is for the kernel.
func (b *edgeBox) power(settings ...string) {
	b.Helper()
	m, images := b.machine, filepath.Join(b.folder, b.machine.name)
	now := fmt.Sprint("DATE=", time.Now().Unix())
	parameters := append([]string{m.kernel, "quiet", "panic=5", "ADDRESS=" + b.address + "/24", "GATEWAY=10.90.0.254", "BOXNAME=box", now}, settings...)
	argv := append([]string{"nice"}, m.qemu...)
	argv = append(argv, "-m", strconv.Itoa(m.memory), "-kernel", filepath.Join(images, "kernel"), "-initrd", filepath.Join(images, "initramfs"),
		"-append", strings.Join(parameters, " "),
		"-drive", "if=none,id=flash,format=raw,readonly=on,file="+filepath.Join(images, "flash"), "-device", "virtio-blk-"+m.bus+",drive=flash",
		"-drive", "if=none,id=disk,format=raw,cache=writethrough,file="+b.disk, "-device", "virtio-blk-"+m.bus+",drive=disk",
		"-netdev", "tap,id=net,ifname=tobox,script=no,downscript=no", "-device", "virtio-net-"+m.bus+",netdev=net",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot")
	b.proc = b.via.spawn(m.name, argv...)
}

// boot turns the box on and waits until it runs scripts.
func (b *edgeBox) boot(settings ...string) *edgeBox {
	b.Helper()
	b.power(settings...)
	took := eventually(b.T, bootTimeout, func() error {
		_, err := b.script("true")
		return errors.Join(err, b.proc.running())
	})
	b.Logf("%s: up after %.1f s", b.machine.name, took.Seconds())
	return b
}

// cut cuts the power.
func (b *edgeBox) cut() { b.Helper(); b.proc.end(b.T, syscall.SIGKILL) }

// script runs a shell script in the box.
func (b *edgeBox) script(text string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // it is also used when the test has ended
	defer cancel()
	conn, err := b.via.dial(ctx, "tcp", b.address+":2323")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	all, err := io.ReadAll(conn)
	out, code, ended := strings.Cut(string(all), "\x00")
	switch {
	case err != nil || !ended:
		return out, fmt.Errorf("the box has not ended %q: %w\n%s", text, cmp.Or(err, io.ErrUnexpectedEOF), out)
	case code != "0":
		return out, fmt.Errorf("exit code %s of %q: %s", code, text, out)
	}
	return out, nil
}

// runs is script for one that must succeed.
func (b *edgeBox) runs(text string) string {
	b.Helper()
	out, err := b.script(text)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// up starts the agent of the box. Its log is /tmp/log there.
func (b *edgeBox) up(flags ...string) {
	b.Helper()
	b.runs("wirespan up --state-dir /state/wirespan " + strings.Join(flags, " ") + " >>/tmp/log 2>&1 & echo $! >/tmp/pid")
	b.Cleanup(func() {
		if b.Failed() {
			out, _ := b.script("tail -n 40 /tmp/log; wirespan status | head -n 40; date")
			b.Logf("--- agent of the box\n%s", out)
		}
	})
}

// refuses checks that the agent of the box does not start, and names the reason.
func (b *edgeBox) refuses(reason string, flags ...string) {
	b.Helper()
	b.refusesAt("/state/wirespan", reason, flags...)
}

// refusesAt is refuses with a state directory.
func (b *edgeBox) refusesAt(stateDir, reason string, flags ...string) {
	b.Helper()
	out, err := b.script("timeout 30 wirespan up --state-dir " + stateDir + " " + strings.Join(flags, " ") + " 2>&1")
	if err == nil || !strings.Contains(out, reason) {
		b.Fatalf("started, or did not say %q: %v\n%s", reason, err, out)
	}
}

// joins starts the agent of the box with the founder's token, and waits until each has
// the other with state up.
func (b *edgeBox) joins(flags ...string) {
	b.Helper()
	b.up(append(flags, "--join @/state/token")...)
	b.meets()
}

// meets waits until the box and the founder have each other with state up.
func (b *edgeBox) meets() {
	b.Helper()
	started := time.Now()
	eventually(b.T, 90*time.Second, b.joined)
	b.runs("wirespan wait founder --timeout 60s")
	b.Logf("up after %.1f s", time.Since(started).Seconds())
}

// joined returns an error unless the founder sees the box, and ends the test if its agent
// has ended.
func (b *edgeBox) joined() error {
	b.runs("kill -0 $(cat /tmp/pid)")
	return b.founder.sees("box")
}

// status asks the agent of the box.
func (b *edgeBox) status() (*agent.Status, error) {
	out, err := b.script("wirespan status -o json")
	if err != nil {
		return nil, err
	}
	s := new(agent.Status)
	return s, json.Unmarshal([]byte(out), s)
}

// stops ends the agent of the box and waits for its end.
func (b *edgeBox) stops() {
	b.Helper()
	b.runs("kill $(cat /tmp/pid); while kill -0 $(cat /tmp/pid) 2>/dev/null; do usleep 50000; done; sync")
}

// condition waits until the status of the box has a condition with all of the words.
func (b *edgeBox) condition(words ...string) {
	b.Helper()
	eventually(b.T, 30*time.Second, func() error {
		s, err := b.status()
		if err != nil {
			return err
		}
		for _, c := range s.Conditions {
			text := string(c.Type) + " " + c.Message
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
				return nil
			}
		}
		return fmt.Errorf("no condition has %q: %v", words, s.Conditions)
	})
}

// meshAddress returns the address of the box in the mesh, as the founder has it.
func (b *edgeBox) meshAddress() netip.Addr {
	b.Helper()
	p, err := b.founder.peer("box")
	if err != nil {
		b.Fatal(err)
	}
	return p.Address
}

// carries pings in both directions, and sends bytes by TCP in both, with checksums.
func (b *edgeBox) carries() {
	b.Helper()
	box, founder := b.meshAddress(), b.founder.mustStatus().Node.Address
	started := time.Now()
	b.pings(founder)
	b.founder.reaches(box)
	b.Logf("both are reached after %.1f s", time.Since(started).Seconds())
	b.runs(fmt.Sprintf("guest echo [%s]:%d %d", founder, echoPort, echoBytes))
	b.founder.sends(box, echoBytes)
}

// netstackForwards lead from the box to the founder's echo server, and back.
var netstackForwards = fmt.Sprintf("--local-forwards 9002:founder:%d --mesh-forwards %[1]d:127.0.0.1:%[1]d", echoPort)

// carriesByForwards is carries for a box with the netstack, which was started with
// netstackForwards.
func (b *edgeBox) carriesByForwards() {
	b.Helper()
	b.runs("wirespan ping founder -c 3")
	b.founder.reaches(b.meshAddress())
	b.runs(fmt.Sprintf("guest echo 127.0.0.1:9002 %d", echoBytes))
	b.founder.sends(b.meshAddress(), echoBytes)
}

// pings sends echo requests from the box until one is answered.
func (b *edgeBox) pings(a netip.Addr) {
	b.Helper()
	b.runs(fmt.Sprintf("for i in $(seq 90); do ping -c 1 -W 1 %s >/dev/null && exit 0; done; exit 1", a))
}

// echoBytes is how much a box and the founder send each other.
const echoBytes = 1_000_000

// sends sends random bytes to the echo server at an address and compares the checksum of
// what comes back.
func (h *labHost) sends(to netip.Addr, size int64) {
	h.Helper()
	conn := h.dialsEcho(to)
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	sent, received := sha256.New(), sha256.New()
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.MultiWriter(conn, sent), rand.Reader, size)
		done <- errors.Join(err, conn.(*net.TCPConn).CloseWrite())
	}()
	n, err := io.Copy(received, conn)
	if err := errors.Join(<-done, err); err != nil {
		h.Fatalf("after %d of %d bytes to %s and back: %v", n, size, to, err)
	}
	if a, b := sent.Sum(nil), received.Sum(nil); !bytes.Equal(a, b) {
		h.Fatalf("sent %d bytes %x, %d came back as %x", size, a, n, b)
	}
}

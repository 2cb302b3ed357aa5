package e2e

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/standalone"
)

// bareDevice is an interface of wirespan device on a host.
type bareDevice struct {
	*labHost
	link        string
	key, public string
	inner       string // its address in the tunnel
}

func (h *labHost) bareDevice(inner string) *bareDevice {
	h.Helper()
	d := &bareDevice{labHost: h, link: fmt.Sprintf("w%d-%d%s", os.Getpid(), h.number, h.name), inner: inner}
	d.key = strings.TrimSpace(h.must("wg", "genkey"))
	d.public = strings.TrimSpace(h.must("sh", "-c", "echo '"+d.key+"' | wg pubkey"))
	h.Cleanup(func() { _ = os.Remove(d.socket()) })
	return d
}

// socket returns the path of the daemon's wg(8) socket.
func (d *bareDevice) socket() string { return filepath.Join(device.UAPIDirectory, d.link+".sock") }

// start starts the daemon, which answers when start returns.
func (d *bareDevice) start() {
	d.Helper()
	d.mustExec(d.binary, "device", d.link)
	if out := d.mustExec("wg", "show", d.link); !strings.HasPrefix(out, "interface: "+d.link+"\n") {
		d.Fatalf("wg show: %s", out)
	}
}

// pid returns the pid of the daemon, which is the only process in its namespace.
func (d *bareDevice) pid() (int, error) {
	out, err := exec.Command("ip", "netns", "pids", d.ns).Output()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

func (d *bareDevice) kill(sig syscall.Signal) {
	d.Helper()
	pid, err := d.pid()
	if err == nil {
		err = syscall.Kill(pid, sig)
	}
	if err != nil {
		d.Fatal(err)
	}
}

// ended waits until process and link are gone, and checks that the socket is, too.
func (d *bareDevice) ended() {
	d.Helper()
	d.dead()
	if _, err := os.Lstat(d.socket()); !errors.Is(err, fs.ErrNotExist) {
		d.Errorf("the socket is there (%v)", err)
	}
}

// dead waits until process and link are gone.
func (d *bareDevice) dead() {
	d.Helper()
	eventually(d.T, 10*time.Second, func() error {
		if pid, err := d.pid(); err == nil {
			return fmt.Errorf("process %d runs", pid)
		}
		if _, err := d.exec("ip", "link", "show", d.link); err == nil {
			return errors.New("the link is there")
		}
		return nil
	})
}

// configure sets the interface up as an administrator would by hand.
func (d *bareDevice) configure(peer *bareDevice) {
	d.Helper()
	path := d.conf(peer, "")
	d.mustExec("wg", "setconf", d.link, path)
	d.ip("address add " + d.inner + "/24 dev " + d.link)
	d.ip("link set " + d.link + " up")
}

// conf writes a configuration for wg(8). The lines of more go to the interface section.
func (d *bareDevice) conf(peer *bareDevice, more string) string {
	d.Helper()
	path := filepath.Join(d.dir, d.link+".conf")
	text := fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51820\n%s[Peer]\nPublicKey = %s\nAllowedIPs = %s/32\nEndpoint = %s:51820\n",
		d.key, more, peer.public, peer.inner, peer.address)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
	return path
}

func scenarioDevice(l *lab) {
	a, b := l.host("a").bareDevice("10.91.0.1"), l.host("b").bareDevice("10.91.0.2")
	a.start()
	b.start()
	a.configure(b)
	b.configure(a)
	a.mustExec("ping", "-c", "3", "-i", "0.05", "-W", "10", b.inner)
	transferTo(l, a, b)
	transferTo(l, b, a)

	// A second daemon is refused and does not affect the first one.
	if out, err := a.exec(a.binary, "device", a.link); err == nil || !strings.Contains(out, "wirespan: ") {
		l.Errorf("a second device: %v, %q", err, out)
	}
	a.mustExec("ping", "-c", "1", "-W", "10", b.inner)

	a.kill(syscall.SIGTERM)
	a.ended()
	b.mustExec("ip", "link", "delete", b.link)
	b.ended()
	a.start()
	if err := os.Remove(a.socket()); err != nil {
		l.Error(err)
	}
	a.ended()
	// What a killed daemon leaves does not prevent a new one.
	a.start()
	a.kill(syscall.SIGKILL)
	a.dead()
	a.start()
	a.mustExec("ip", "link", "delete", a.link)
	a.ended()
}

// scenarioDeviceReady checks that the parent of a daemon returns when the daemon
// answers.
func scenarioDeviceReady(l *lab) {
	d := l.host("a").bareDevice("")
	for range 20 {
		d.start()
		d.mustExec("ip", "link", "delete", d.link)
		d.ended()
	}
	p := d.spawn("foreground", d.binary, "device", "--foreground", d.link)
	eventually(l.T, 10*time.Second, func() error {
		_, err := d.exec("wg", "show", d.link)
		return errors.Join(err, p.running())
	})
	if code := p.exitCode(l.T, syscall.SIGINT); code != 0 {
		l.Errorf("exit code %d in the foreground", code)
	}
	d.ended()
}

// scenarioDeviceDescriptors checks that the interface and the socket may be opened by
// another program.
func scenarioDeviceDescriptors(l *lab) {
	d := l.host("a").bareDevice("")
	link, err := d.openLink()
	if err != nil {
		l.Fatal(err)
	}
	defer link.Close()
	listener, err := device.ListenUAPI(d.socket())
	if err != nil {
		l.Fatal(err)
	}
	socket, err := listener.File()
	if err != nil {
		l.Fatal(err)
	}
	defer socket.Close()
	listener.SetUnlinkOnClose(false)
	_ = listener.Close()

	cmd := exec.Command("ip", "netns", "exec", d.ns, d.binary, "device", "another-name")
	cmd.Env = append(cleanEnvironment(), standalone.EnvTUN+"=3", standalone.EnvUAPI+"=4")
	cmd.ExtraFiles = []*os.File{link, socket}
	if out, err := cmd.CombinedOutput(); err != nil {
		l.Fatalf("%v: %s", err, out)
	}
	_, _ = link.Close(), socket.Close()
	if out := d.mustExec("wg", "show", d.link, "listen-port"); out != "0\n" {
		l.Errorf("it has port %s before the link is up", out)
	}
	d.ip("link set " + d.link + " up")
	eventually(l.T, 10*time.Second, func() error {
		if out := d.mustExec("wg", "show", d.link, "listen-port"); out == "0\n" {
			return errors.New("no port is open")
		}
		return nil
	})
	d.kill(syscall.SIGTERM)
	d.ended()
}

// openLink creates the TUN interface in this process.
func (d *bareDevice) openLink() (*os.File, error) {
	fd := -1
	err := d.inside(func() (err error) {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		request, err := unix.NewIfreq(d.link)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	})
	return os.NewFile(uintptr(fd), d.link), err
}

func scenarioDeviceQuick(l *lab) {
	if _, err := os.Stat("/sys/module/wireguard"); err == nil {
		l.Skip("wg-quick takes the kernel's WireGuard where it is loaded")
	}
	a, b := l.host("a").bareDevice("10.92.0.1"), l.host("b").bareDevice("10.92.0.2")
	program := filepath.Join(l.dir, "wirespan-device")
	if err := os.Symlink(l.binary, program); err != nil {
		l.Fatal(err)
	}
	quick := func(d *bareDevice, what, path string) {
		l.Helper()
		d.mustExec("env", "WG_QUICK_USERSPACE_IMPLEMENTATION="+program, "wg-quick", what, path)
	}
	b.start()
	b.configure(a)
	path := a.conf(b, "Address = "+a.inner+"/24\nMTU = 1380\n")
	for range 3 {
		quick(a, "up", path)
		a.mustExec("ping", "-c", "2", "-i", "0.05", "-W", "10", b.inner)
		if out := a.mustExec("ip", "link", "show", a.link); !strings.Contains(out, "mtu 1380") {
			l.Errorf("MTU: %s", out)
		}
		transferTo(l, a, b)
		quick(a, "down", path)
		a.ended()
	}
}

// transferTo sends 10 MB through the tunnel and compares what arrives.
func transferTo(l *lab, from, to *bareDevice) {
	l.Helper()
	const size = 10 << 20
	ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
	defer cancel()
	var listener net.Listener
	err := to.inside(func() (err error) {
		listener, err = net.Listen("tcp", to.inner+":0")
		return err
	})
	if err != nil {
		l.Fatal(err)
	}
	defer listener.Close()
	received := make(chan [sha256.Size]byte, 1)
	go func() {
		sum := sha256.New()
		defer func() { received <- [sha256.Size]byte(sum.Sum(nil)) }()
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.Copy(sum, conn) // the checksum shows an error
	}()
	conn, err := from.dial(ctx, "tcp", listener.Addr().String())
	if err != nil {
		l.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	data := make([]byte, size)
	_, _ = rand.Read(data) // does not fail
	if _, err := conn.Write(data); err != nil {
		l.Error(err)
	}
	_ = conn.Close()
	if got := <-received; got != sha256.Sum256(data) {
		l.Errorf("%d bytes from %s to %s did not arrive as sent", size, from.name, to.name)
	}
}

package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device/relay"
)

// Hosts of the namespace: the relay, and peers.
const (
	realRelay = "198.51.100.1"
	realPeer  = "192.0.2.7"
)

// namespace moves the test's thread to a network namespace of its own, in which both hosts
// are this one. The thread ends with its goroutine.
func namespace(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace takes root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal("new network namespace:", err)
	}
	for _, args := range []string{"link set lo up", "addr add " + realRelay + "/32 dev lo", "addr add " + realPeer + "/32 dev lo"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
}

// coturn starts turnserver, and returns when it listens.
func coturn(t *testing.T, options ...string) {
	t.Helper()
	dir := t.TempDir()
	writeCertificate(t, filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
	var out bytes.Buffer
	cmd := exec.Command("turnserver", append([]string{
		"-n", "--listening-ip", realRelay, "--relay-ip", realRelay, "--realm", "example.org", "--lt-cred-mech", "--user", "user:password",
		"--min-port", "41000", "--max-port", "41099", "--no-cli", "--log-file", "stdout", "--simple-log", "--pidfile", filepath.Join(dir, "pid"),
		"--userdb", filepath.Join(dir, "db"), "--cert", filepath.Join(dir, "cert"), "--pkey", filepath.Join(dir, "key"),
	}, options...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal("start coturn (Debian's package coturn): ", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("coturn:\n%s", out.String())
		}
	})
	for range 200 {
		if conn, err := net.Dial("tcp", realRelay+":3478"); err == nil {
			_ = conn.Close()
			return
		}
		pause(t)
	}
	t.Fatal("coturn does not listen")
}

// pause waits until a program that was started has done a bit more.
func pause(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	<-ctx.Done()
}

func realSocket(t *testing.T, at string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// inNamespace returns what runs functions in the thread's namespace: sockets belong to that of
// the thread that makes them.
func inNamespace(t testing.TB) func(func() error) error {
	t.Helper()
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return func(do func() error) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // the thread ends with this goroutine
			err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			if err == nil {
				err = do()
			}
			done <- err
		}()
		return <-done
	}
}

// dialIn returns a dial in the thread's namespace.
func dialIn(t *testing.T, dial func() (net.Conn, error)) func(context.Context) (net.Conn, error) {
	t.Helper()
	inside := inNamespace(t)
	return func(context.Context) (conn net.Conn, err error) {
		err = inside(func() (err error) {
			conn, err = dial()
			return err
		})
		return conn, err
	}
}

// Our client uses coturn over each transport, and a new coturn after the first one.
func TestClientWithCoturn(t *testing.T) {
	for name, tt := range map[string]struct {
		stream bool
		dial   func() (net.Conn, error)
	}{
		"UDP": {false, func() (net.Conn, error) { return net.Dial("udp4", realRelay+":3478") }},
		"TCP": {true, func() (net.Conn, error) { return net.Dial("tcp4", realRelay+":3478") }},
		"TLS": {true, func() (net.Conn, error) {
			conn, err := net.Dial("tcp4", realRelay+":5349")
			if err != nil {
				return nil, err
			}
			return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}), nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace(t)
			coturn(t)
			peer, moved := realSocket(t, realPeer+":51820"), realSocket(t, realPeer+":7777")
			c := startClient(t, relay.Config{
				Dial: dialIn(t, tt.dial), Stream: tt.stream,
				Credentials: func(time.Time) relay.Credentials {
					return relay.Credentials{Username: "user", Password: relay.NewPassword("password")}
				},
			})
			at := netip.MustParseAddrPort(realPeer + ":51820")
			c.SetPeers([]netip.AddrPort{at})
			s := c.wait(t, "bound", func(s relay.Status) bool { return s.Channels == 1 && s.Permitted })
			for _, p := range []*net.UDPConn{peer, moved} {
				packet := bytes.Repeat([]byte("p"), 1483)
				to := netip.MustParseAddrPort(p.LocalAddr().String())
				if _, err := p.WriteToUDPAddrPort(packet, s.Relayed); err != nil {
					t.Fatal(err)
				}
				if d := receive(t, c.in); !bytes.Equal(d.b, packet) || d.from != to {
					t.Fatalf("the client got %d bytes from %v", len(d.b), d.from)
				}
				if !c.WriteTo(packet, to) {
					t.Fatal("not sent")
				}
				buf := make([]byte, 2000)
				if n, from, err := p.ReadFromUDPAddrPort(buf); err != nil || !bytes.Equal(buf[:n], packet) || from != s.Relayed {
					t.Fatalf("the peer got %d bytes from %v: %v", n, from, err)
				}
			}
			c.wait(t, "bound to both", func(s relay.Status) bool { return s.Channels == 2 })
		})
	}
}

// A wrong password and a quota are told as what they are.
func TestCoturnRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		password string
		options  []string
		code     int
	}{
		"wrong password": {"other", nil, 401},
		"no quota":       {"password", []string{"--total-quota", "1"}, 486},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace(t)
			coturn(t, tt.options...)
			cfg := relay.Config{
				Dial: dialIn(t, func() (net.Conn, error) { return net.Dial("udp4", realRelay+":3478") }),
				Credentials: func(time.Time) relay.Credentials {
					return relay.Credentials{Username: "user", Password: relay.NewPassword(tt.password)}
				},
			}
			c := startClient(t, cfg)
			if tt.code == 486 {
				c.wait(t, "ready", func(s relay.Status) bool { return s.State == relay.StateReady })
				c = startClient(t, cfg)
			}
			// coturn takes TCP before UDP: the first error may be another one.
			c.wait(t, fmt.Sprintf("refused with %d", tt.code), func(s relay.Status) bool {
				e := (*relay.Error)(nil)
				return errors.As(s.Err, &e) && e.Code == tt.code
			})
		})
	}
}

var uclientLost = regexp.MustCompile(`Total lost packets \d+ \(([0-9.]+)%\)`)

// coturn's client uses our server: a peer sends back what it gets. It asks for even ports at
// random, and tries versions of TLS that we do not have first.
func TestServerWithUclient(t *testing.T) {
	for name, options := range map[string][]string{
		"channels over UDP": nil, "indications over UDP": {"-s"}, "channels over TCP": {"-t"}, "indications over TCP": {"-t", "-s"}, "over TLS": {"-t", "-S"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace(t)
			startReal(t)
			peer := realSocket(t, realPeer+":3480")
			go func() {
				buf := make([]byte, 2000)
				for {
					n, from, err := peer.ReadFromUDPAddrPort(buf)
					if err != nil {
						return
					}
					_, _ = peer.WriteToUDPAddrPort(buf[:n], from)
				}
			}()
			have := key.Credentials(nodeID, time.Now())
			port := "3478"
			if len(options) > 1 && options[1] == "-S" {
				port = "5349"
			}
			args := append([]string{"-c", "-e", realPeer, "-r", "3480", "-n", "10", "-l", "1400", "-m", "2", "-p", port, "-u", have.Username, "-w", have.Password.Reveal(), "-L", realPeer}, options...)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, "turnutils_uclient", append(args, realRelay)...).CombinedOutput()
			if err != nil {
				t.Fatalf("turnutils_uclient (Debian's package coturn): %v\n%s", err, out)
			}
			lost := uclientLost.FindSubmatch(out)
			if lost == nil || string(lost[1]) != "0.000000" {
				t.Errorf("turnutils_uclient lost packets:\n%s", out)
			}
		})
	}
}

// startReal starts a server on the relay's addresses.
func startReal(t *testing.T) *Server {
	t.Helper()
	plain, err := net.Listen("tcp4", realRelay+":3478")
	if err != nil {
		t.Fatal(err)
	}
	certified, err := tls.Listen("tcp4", realRelay+":5349", &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	if err != nil {
		t.Fatal(err)
	}
	inside := inNamespace(t)
	s, err := New(Config{
		Sockets: []Socket{realSocket(t, realRelay+":3478")}, Listeners: []net.Listener{plain, certified},
		Public4: netip.MustParseAddr(realRelay), FirstPort: 40000, LastPort: 40015, Keys: func(string) []relay.Key { return []relay.Key{key} }, Limits: Limits{AllocationsPerMember: 8},
		Listen: func(network string, port uint16) (c Socket, err error) {
			err = inside(func() (err error) {
				c, err = net.ListenUDP(network, &net.UDPAddr{IP: net.ParseIP(realRelay), Port: int(port)})
				return err
			})
			return c, err
		},
		Authorize:     func(user string) (Member, bool) { return Member{"a", ownerKey}, user == relay.User(nodeID) },
		Own:           func(netip.Addr) bool { return false },
		WireGuardPort: func() uint16 { return 51820 },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

package resolved

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/godbus/dbus/v5"
)

// startBus runs a message bus, as the system bus of this process.
func startBus(t *testing.T) string {
	t.Helper()
	address := "unix:path=" + filepath.Join(t.TempDir(), "bus")
	cmd := exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1", "--address="+address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (Debian: apt-get install dbus)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil { // it is ready
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	return address
}

// service1 has the methods of resolved's manager, with the signatures of its documentation.
type service1 struct {
	calls chan string
	err   *dbus.Error // of SetLinkDNS
}

func (s service1) say(method string, args ...any) *dbus.Error {
	s.calls <- fmt.Sprint(method, args)
	return nil
}

func (s service1) SetLinkDefaultRoute(i int32, on bool) *dbus.Error {
	return s.say("SetLinkDefaultRoute", i, on)
}

func (s service1) SetLinkDNSSEC(i int32, mode string) *dbus.Error {
	return s.say("SetLinkDNSSEC", i, mode)
}

func (s service1) SetLinkLLMNR(i int32, mode string) *dbus.Error {
	return s.say("SetLinkLLMNR", i, mode)
}

func (s service1) RevertLink(i int32) *dbus.Error { return s.say("RevertLink", i) }

func (s service1) SetLinkDomains(i int32, d []struct {
	Name        string
	RoutingOnly bool
},
) *dbus.Error {
	return s.say("SetLinkDomains", i, d)
}

func (s service1) SetLinkDNS(i int32, servers []struct {
	Family  int32
	Address []byte
},
) *dbus.Error {
	if s.err != nil {
		return s.err
	}
	return s.say("SetLinkDNS", i, servers)
}

// start puts the service on the bus. It lacks SetLinkDNSOverTLS and SetLinkMulticastDNS, as
// older versions do.
func (s service1) start(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Export(s, object, service+".Manager"); err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.RequestName(service, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("RequestName: %v, %v", reply, err)
	}
	return conn
}

// TestBus registers with a service by the real protocol.
func TestBus(t *testing.T) {
	address := startBus(t)
	problems := make(chan string, 8)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, testLink, func(p string) { problems <- p }) }()
	if p := <-problems; p == "" {
		t.Error("registered with nobody")
	}
	s := service1{calls: make(chan string, 64)}
	expect := func(when string) {
		t.Helper()
		for _, want := range []string{registered[0], registered[1], registered[2], registered[4], registered[6]} {
			if got := <-s.calls; got != want {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		if p := <-problems; p != "" {
			t.Errorf("%s: %s", when, p)
		}
	}
	conn := s.start(t, address)
	expect("at first")
	conn.Close()
	if p := <-problems; p == "" {
		t.Error("registered with nobody, later")
	}
	s.start(t, address)
	expect("after a restart of resolved")
	cancel()
	if got := <-s.calls; got != "RevertLink[7]" {
		t.Errorf("at the end: %s", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Errors of resolved and of the bus are told apart.
func TestBusErrors(t *testing.T) {
	address := startBus(t)
	for name, want := range map[string]error{
		"org.freedesktop.resolve1.LinkBusy":       errBusy,
		"org.freedesktop.DBus.Error.AccessDenied": errDenied,
	} {
		conn := service1{err: dbus.NewError(name, []any{"x"})}.start(t, address)
		b, err := connectSystem(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := b.call(t.Context(), "SetLinkDNS", int32(7), []server{}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if err := b.call(t.Context(), "Other", int32(7)); !errors.Is(err, errUnknownMethod) {
			t.Errorf("an unknown method: %v", err)
		}
		b.close()
		if _, err := conn.ReleaseName(service); err != nil {
			t.Error(err)
		}
	}
	b, err := connectSystem(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if owner, err := b.owner(t.Context()); owner != "" || err != nil {
		t.Errorf("owner of a name that nobody has: %q, %v", owner, err)
	}
	if err := b.call(t.Context(), "RevertLink", int32(7)); err == nil {
		t.Error("a call to nobody")
	}
}

// A bus that does not answer does not keep Run from ending.
func TestSilentBus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, testLink, func(string) {}) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

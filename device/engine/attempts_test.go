package engine

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/mesh"
)

// place is an endpoint, as that of device/bind is one.
type place struct {
	conn.Endpoint
	at netip.AddrPort
}

func (p *place) AddrPort() netip.AddrPort { return p.at }
func (p *place) DstToString() string      { return p.at.String() }

func placeAt(s string) *place { return &place{at: netip.MustParseAddrPort(s)} }

// brokenBind is a bind that returns an error for each packet, unless it is nil.
type brokenBind struct {
	conn.Bind
	err error
}

func (b *brokenBind) Send([][]byte, conn.Endpoint) error { return b.err }

// messageOf returns a message of a type and size.
func messageOf(kind byte, size int) [][]byte {
	return [][]byte{append([]byte{kind}, make([]byte, size-1)...)}
}

func initiation() [][]byte {
	return messageOf(wireguard.MessageInitiationType, wireguard.MessageInitiationSize)
}

func answer() [][]byte {
	return messageOf(wireguard.MessageResponseType, wireguard.MessageResponseSize)
}

func data() [][]byte { return messageOf(wireguard.MessageTransportType, 200) }

// watched is a recorder that remembers.
type watched struct{ *recorder }

func (w watched) Attempts() []mesh.Attempt { return w.attempts.list(time.Now()) }

// newWatched returns a recorder that remembers, and counts calls of changed.
func newWatched() (watched, *brokenBind, *int) {
	socket, calls := &brokenBind{}, new(int)
	e, _ := New(mesh.Key{}, socket, hclog.NewNullLogger(), func() { *calls++ })
	e.Remember()
	return watched{e.bind}, socket, calls
}

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, calls := newWatched()
		start := time.Now()
		here, there := placeAt("192.0.2.1:1"), placeAt("[::ffff:192.0.2.2]:1")
		_ = b.Send(data(), here)
		if got := b.Attempts(); got != nil {
			t.Errorf("a packet alone is remembered: %+v", got)
		}
		for i := range mesh.AttemptsKept + 2 {
			time.Sleep(5 * time.Second)
			_ = b.Send([][][]byte{initiation(), answer()}[i%2], here)
		}
		_ = b.Send(initiation(), there)
		got := b.Attempts()
		if len(got) != 2 || got[0].Endpoint != here.at || got[1].Endpoint.String() != "192.0.2.2:1" {
			t.Fatalf("%+v, want both addresses in order", got)
		}
		for i, at := range got[0].Handshakes {
			if want := start.Add(time.Duration(15+5*i) * time.Second); !at.Equal(want) {
				t.Errorf("handshake %d at %v, want %v", i, at, want)
			}
		}
		if at := got[1].Handshakes; !at[mesh.AttemptsKept-2].IsZero() || at[mesh.AttemptsKept-1].IsZero() {
			t.Errorf("%v, want one handshake", at)
		}
		time.Sleep(attemptTime)
		if got := b.Attempts(); got != nil || len(b.attempts.by) != 0 {
			t.Errorf("still there: %+v", got)
		}
		if *calls != 0 {
			t.Errorf("%d signals without a refusal", *calls)
		}
	})
}

func TestRefusals(t *testing.T) {
	to := placeAt("192.0.2.1:1")
	for errno, want := range map[syscall.Errno]mesh.Refusal{
		syscall.EPERM: mesh.RefusedByFirewall, syscall.EACCES: mesh.RefusedByRoute, syscall.EINVAL: mesh.RefusedByRoute,
		syscall.ENETUNREACH: mesh.RefusedWithoutRoute, syscall.EHOSTUNREACH: mesh.RefusedWithoutRoute, syscall.EAFNOSUPPORT: mesh.RefusedWithoutRoute,
		syscall.ENETDOWN: mesh.RefusedWithoutRoute, syscall.EADDRNOTAVAIL: mesh.RefusedWithoutRoute,
		syscall.EMSGSIZE: mesh.NotRefused, syscall.ENOBUFS: mesh.NotRefused, syscall.EBADF: mesh.NotRefused,
	} {
		for name, err := range map[string]error{
			"alone": errno, "of sendmmsg": os.NewSyscallError("sendmmsg", errno), "without GSO": conn.ErrUDPGSODisabled{RetryErr: errno},
		} {
			b, socket, calls := newWatched()
			socket.err = err
			sent := b.Send(data(), to)
			if !errors.Is(sent, errno) || !strings.Contains(sent.Error(), "to 192.0.2.1:1: ") {
				t.Errorf("%v %s: Send returns %v, want one that names the address", errno, name, sent)
			}
			got := b.Attempts()
			if refused := len(got) == 1 && got[0].Refusal == want && got[0].Error == errno.Error(); refused != (want != mesh.NotRefused) || *calls > 1 || *calls == 1 != refused {
				t.Errorf("%v %s: %+v and %d signals, want refusal %d", errno, name, got, *calls, want)
			}
		}
	}
}

// A refusal ends with the first packet that leaves. A refused initiation is not one that
// was sent. Signals are at least a second apart, however often refusals come and go.
func TestRefusalEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, socket, calls := newWatched()
		to, other := placeAt("192.0.2.1:1"), placeAt("192.0.2.2:1")
		for range 100 {
			socket.err = syscall.EPERM
			_ = b.Send(initiation(), to)
			socket.err = nil
			_ = b.Send(data(), to)
		}
		if *calls != 1 {
			t.Errorf("%d signals at once, want 1", *calls)
		}
		if got := b.Attempts(); len(got) != 1 || got[0].Refusal != mesh.NotRefused || !got[0].Handshakes[mesh.AttemptsKept-1].IsZero() {
			t.Errorf("%+v, want neither a refusal nor a handshake", got)
		}
		time.Sleep(refusalPause)
		socket.err = syscall.EPERM
		_ = b.Send(data(), to)
		socket.err = nil
		_ = b.Send(data(), other) // says nothing of the first
		if got := b.Attempts(); len(got) != 1 || got[0].Refusal != mesh.RefusedByFirewall || *calls != 2 {
			t.Errorf("%+v and %d signals, want a refusal and 2", got, *calls)
		}
		time.Sleep(refusalPause)
		_ = b.Send(data(), to)
		if n := b.attempts.refused.Load(); n != 0 || *calls != 3 {
			t.Errorf("%d refusals and %d signals, want 0 and 3", n, *calls)
		}
		socket.err = syscall.EPERM
		_ = b.Send(data(), to)
		time.Sleep(attemptTime)
		if got, n := b.Attempts(), b.attempts.refused.Load(); got != nil || n != 0 {
			t.Errorf("%d refusals after %v: %+v", n, attemptTime, got)
		}
	})
}

// Others choose the addresses to which a node sends: they fill no memory.
func TestAttemptsMemory(t *testing.T) {
	b, _, _ := newWatched()
	now := time.Unix(1e9, 0)
	for i := range 3 * maxAttempts {
		b.attempts.note(ports(i+1), i%2 == 0, syscall.Errno(i%2)*syscall.EPERM, now)
	}
	if n := len(b.attempts.by); n != maxAttempts {
		t.Errorf("%d addresses are remembered, want %d", n, maxAttempts)
	}
	later := now.Add(attemptTime)
	b.attempts.note(ports(0), true, 0, later)
	if n, refused := len(b.attempts.by), b.attempts.refused.Load(); n != 1 || refused != 0 {
		t.Errorf("%d addresses and %d refusals when the others are old", n, refused)
	}
}

// ports returns different ports of one address, and then of others.
func ports(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i >> 15)}), uint16(i&0x7fff)+1)
}

// A bind that was not told to remembers nothing.
func TestNoAttempts(t *testing.T) {
	b, _ := New(mesh.Key{}, &brokenBind{err: syscall.EPERM}, hclog.NewNullLogger(), nil)
	if err := b.bind.Send(initiation(), placeAt("192.0.2.1:1")); !errors.Is(err, syscall.EPERM) || b.Attempts() != nil {
		t.Errorf("%v, %v", err, b.Attempts())
	}
}

func TestAttemptsAllocs(t *testing.T) {
	b, socket, _ := newWatched()
	to, other := placeAt("192.0.2.1:1"), placeAt("192.0.2.2:1")
	bufs := data()
	for _, refused := range []bool{false, true} {
		if refused {
			socket.err = syscall.EPERM
			_ = b.Send(bufs, other)
			socket.err = nil
		}
		if n := testing.AllocsPerRun(100, func() { _ = b.Send(bufs, to) }); n != 0 {
			t.Errorf("%v allocations, with a refusal elsewhere: %v", n, refused)
		}
	}
}

// The trace names each handshake message and keepalive, and its address.
func TestTrace(t *testing.T) {
	var out bytes.Buffer
	for _, level := range []hclog.Level{hclog.Trace, hclog.Debug} {
		out.Reset()
		b, socket, _ := newWatched()
		b.log = hclog.New(&hclog.LoggerOptions{Output: &out, Level: level, DisableTime: true})
		to := placeAt("192.0.2.1:1")
		kinds := map[string][][]byte{
			"handshake initiation": initiation(),
			"handshake response":   answer(),
			"cookie reply":         messageOf(wireguard.MessageCookieReplyType, wireguard.MessageCookieReplySize),
			"keepalive":            messageOf(wireguard.MessageTransportType, wireguard.MessageKeepaliveSize),
		}
		var want []string
		for kind, bufs := range kinds {
			_ = b.Send(bufs, to)
			b.received(bufs, []int{len(bufs[0])}, []conn.Endpoint{to})
			want = append(want, fmt.Sprintf("sent: message=%q to=192.0.2.1:1\n", kind), fmt.Sprintf("received: message=%q from=192.0.2.1:1\n", kind))
		}
		socket.err = syscall.EPERM
		_ = b.Send(initiation(), to)
		want = append(want, `not sent: message="handshake initiation" to=192.0.2.1:1 error="operation not permitted"`)
		_ = b.Send(data(), to)
		b.received(append(data(), nil), []int{200, 0}, []conn.Endpoint{to, nil})
		text := strings.ReplaceAll(out.String(), "message=keepalive", `message="keepalive"`)
		for _, w := range want {
			if strings.Contains(text, w) != (level == hclog.Trace) {
				t.Errorf("at %s, %q in\n%s", level, w, text)
			}
		}
		if n := strings.Count(text, "\n"); n != len(want) && level == hclog.Trace || n != 0 && level == hclog.Debug {
			t.Errorf("%d lines at %s, want %d at trace:\n%s", n, level, len(want), text)
		}
	}
}

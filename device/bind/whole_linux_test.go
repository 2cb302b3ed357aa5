package bind

import (
	"errors"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// A datagram that must stay whole arrives if it fits the link, over IPv4 with the DF flag,
// and is refused otherwise. Other datagrams are fragmented before and after.
func TestSendWhole(t *testing.T) {
	a, b := hosts(t, 1280)
	raw := rawUDP(t, b)
	if err := netns.Set(a.ns); err != nil {
		t.Fatal(err)
	}
	for i, to := range b.paths() {
		ep := parse(t, a, to)
		most := 1280 - []int{28, 48}[i]
		for range 2 {
			move(t, a, ep, b.fns[i], datagrams(1452))
			if err := a.SendWhole(make([]byte, most+1), ep); !errors.Is(err, unix.EMSGSIZE) {
				t.Errorf("%s: %d bytes: %v, want EMSGSIZE", to, most+1, err)
			}
			drain(raw)
			if err := a.SendWhole(datagrams(most)[0], ep); err != nil {
				t.Errorf("%s: %d bytes: %v", to, most, err)
			}
			newBatch().receive(t, b.fns[i], func(d []byte, _ conn.Endpoint) {
				if len(d) != most {
					t.Errorf("%s: %d bytes arrived, want %d", to, len(d), most)
				}
			})
			if h := drain(raw); i == 0 && (len(h) != 1 || h[0]&0x40 == 0) {
				t.Errorf("%s: flags %x, want DF", to, h)
			}
		}
		move(t, a, ep, b.fns[i], datagrams(1452))
	}
	if err := a.SendWhole(nil, nil); !errors.Is(err, conn.ErrWrongEndpointType) {
		t.Errorf("without an endpoint: %v", err)
	}
}

// rawUDP returns a socket that receives the IPv4 headers of a host's datagrams.
func rawUDP(t *testing.T, h *host) int {
	t.Helper()
	if err := netns.Set(h.ns); err != nil {
		t.Fatal(err)
	}
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(raw) })
	return raw
}

// drain returns the flags of the IPv4 headers that a raw socket has received.
func drain(raw int) (flags []byte) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(raw, buf, 0)
		if err != nil {
			return flags
		}
		if n >= 20 {
			flags = append(flags, buf[6])
		}
	}
}

package nat

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/device/stun"
	"github.com/wirespan/wirespan/mesh"
)

// rfc5780 is a server with two addresses and ports, in front of which is a NAT.
type rfc5780 struct {
	first, second netip.Addr
	filter        mesh.Behaviour
	symmetric     bool
	sent          map[netip.AddrPort]bool // to whom the socket has sent
	receive       func(b []byte, from netip.AddrPort) bool
}

var ports = [2]uint16{3478, 3479}

func (s *rfc5780) send(msg []byte, to netip.AddrPort) error {
	s.sent[to] = true
	mapped := outside
	if s.symmetric && to.Addr() == s.second {
		mapped = moved
	}
	if to == mapped { // hairpin
		time.AfterFunc(time.Millisecond, func() { s.receive(msg, mapped) })
		return nil
	}
	from, port := s.first, ports[0]
	if to.Addr() == s.second {
		from = s.second
	}
	m, err := stun.Parse(msg)
	if err != nil {
		return err
	}
	if m.Change&stun.ChangeIP != 0 {
		from = s.second
	}
	if m.Change&stun.ChangePort != 0 {
		port = ports[1]
	}
	answer := netip.AddrPortFrom(from, port)
	if s.admits(answer) {
		b := response(m.ID, mapped, netip.AddrPortFrom(s.second, ports[1]))
		time.AfterFunc(time.Millisecond, func() { s.receive(b, answer) })
	}
	return nil
}

// response returns a binding response with the server's other address.
func response(id stun.ID, mapped, other netip.AddrPort) []byte {
	b := []byte{1, 1, 0, 24, 0x21, 0x12, 0xa4, 0x42}
	b = append(b, id[:]...)
	address := func(kind uint16, a netip.AddrPort, mask [6]byte) {
		b = binary.BigEndian.AppendUint16(b, kind)
		b = append(b, 0, 8, 0, 1, byte(a.Port()>>8)^mask[0], byte(a.Port())^mask[1])
		for i, c := range a.Addr().As4() {
			b = append(b, c^mask[2+i])
		}
	}
	address(0x0020, mapped, [6]byte{0x21, 0x12, 0x21, 0x12, 0xa4, 0x42})
	address(0x802c, other, [6]byte{})
	return b
}

// admits reports whether the NAT lets in what comes from an address.
func (s *rfc5780) admits(from netip.AddrPort) bool {
	switch s.filter {
	case mesh.BehaviourEndpointIndependent:
		return true
	case mesh.BehaviourAddressDependent:
		for to := range s.sent {
			if to.Addr() == from.Addr() {
				return true
			}
		}
		return false
	}
	return s.sent[from]
}

func TestCheckTellsNATsApart(t *testing.T) {
	for want, world := range map[string]rfc5780{
		"full cone":          {filter: mesh.BehaviourEndpointIndependent},
		"address-restricted": {filter: mesh.BehaviourAddressDependent},
		"port-restricted":    {filter: mesh.BehaviourAddressPortDependent},
		"symmetric":          {filter: mesh.BehaviourAddressPortDependent, symmetric: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			world.first, world.second, world.sent = one.Addr(), two.Addr(), map[netip.AddrPort]bool{}
			p := New(Config{Send: world.send, Changed: func() {}})
			world.receive = p.Received
			p.Set(mesh.STUN{Servers: []string{one.String()}, Local: inside}, 51820)
			for _, round := range []string{"first", "second"} { // the second finds what the first left in the NAT
				c := p.Check(t.Context())
				n := c.Families[0]
				if n.Type != want || n.Filtering != world.filter || n.Hairpin == nil || !*n.Hairpin || n.SamePort || !n.Available {
					t.Errorf("%s, %s check: %+v", want, round, n)
				}
				if six := c.Families[1]; six.Type != "unknown" || six.Available {
					t.Errorf("%s: IPv6 is %+v without any server", want, six)
				}
			}
		})
	}
}

func TestCheckSaysWhatItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: outside}, one.String(), two.String(), "no.example:1", "[")
		c := w.Check(t.Context())
		if n := c.Families[0]; n.Type != "unknown" || n.Mapping != mesh.BehaviourUnknown || n.Filtering != mesh.BehaviourUnknown || n.Hairpin == nil || *n.Hairpin {
			t.Errorf("with one server: %+v", n)
		}
		failed := map[string]string{}
		for _, s := range c.STUN {
			failed[s.Server] = s.Error
		}
		for server, fails := range map[string]bool{one.String(): false, two.String(): true, "no.example:1": true, "[": true} {
			if why, there := failed[server]; !there || (why != "") != fails {
				t.Errorf("server %s: %q, there: %v", server, why, there)
			}
		}
	})
}

// A server that refuses requests says nothing of the NAT, and its code is told.
func TestCheckTellsOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := stun.NewServer(time.Now())
		var p *Prober
		p = New(Config{Changed: func() {}, Send: func(msg []byte, to netip.AddrPort) error {
			refusal := server.Answer(time.Now(), stun.AppendRequest(nil, stun.IDOf(msg), stun.ChangeIP), outside)
			time.AfterFunc(time.Millisecond, func() { p.Received(refusal, to) })
			return nil
		}})
		p.Set(mesh.STUN{Servers: []string{one.String()}, Local: inside}, 51820)
		c := p.Check(t.Context())
		if s := c.STUN[0]; !strings.Contains(s.Error, "code 420") || len(c.Families[0].Mapped) > 0 {
			t.Errorf("%+v", c)
		}
	})
}

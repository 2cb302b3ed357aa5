package nodetest_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// noneOf reports whether a node has no condition about what is refused or not answered.
func noneOf(n *nodetest.Node) bool {
	return conditionOf(n, mesh.ConditionSendRefused) == "" && conditionOf(n, mesh.ConditionNoAnswer) == ""
}

// A firewall of a host refuses what it sends to one peer. Its node says so, names the peer
// that is concerned, while it still counts as up, and no other; until the firewall lets it.
func TestHostRefusesToSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := pair(t, m)
		c := m.Start(m.Internet().Host("192.0.2.3"))
		m.Await(time.Minute, "all up", func() bool { return nodetest.AllUp(a, b, c) })
		for _, errno := range []unix.Errno{unix.EPERM, unix.EACCES, unix.ENETUNREACH} {
			a.Refuse(func(to netip.AddrPort) error {
				if to.Addr() == netip.MustParseAddr("192.0.2.2") {
					return errno
				}
				return nil
			})
			m.Await(time.Minute, "the refusal is named", func() bool {
				return says(a, mesh.ConditionSendRefused, b.Name+" at 192.0.2.2:51820: "+errno.Error())
			})
			if !a.Up(b) || says(a, mesh.ConditionSendRefused, c.Name) || !noneOf(c) {
				t.Errorf("%v: b is up: %v; %q", errno, a.Up(b), conditionOf(a, mesh.ConditionSendRefused))
			}
			a.Refuse(nil)
			m.Await(time.Minute, "no condition", func() bool { return noneOf(a) })
		}
	})
}

// UDP is blocked on the line of a host. Its node says that UDP is blocked there, the others
// name it, and who leaves discovery is named no more.
func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := pair(t, m)
		h := m.Internet().Host("192.0.2.3")
		h.SetLine(nodetest.Line{BlocksUDP: true})
		c := m.Start(h)
		start := time.Now()
		m.Await(time.Minute, "each side says what it knows", func() bool {
			return says(c, mesh.ConditionNoAnswer, "none of 2 peers answers", a.Name+" at 192.0.2.1:51820", b.Name+" at 192.0.2.2:51820", "UDP port 51820") &&
				says(a, mesh.ConditionNoAnswer, c.Name, "from 192.0.2.3:51820") && says(b, mesh.ConditionNoAnswer, c.Name)
		})
		if took := time.Since(start); took < mesh.EndpointTimeout {
			t.Errorf("said after %v", took)
		}
		if says(a, mesh.ConditionNoAnswer, b.Name) || says(a, mesh.ConditionNoAnswer, "peers") {
			t.Errorf("a says: %q", conditionOf(a, mesh.ConditionNoAnswer))
		}
		c.SetLine(nodetest.Line{})
		m.Await(time.Minute, "all answer", func() bool { return nodetest.AllUp(a, b, c) && noneOf(a) && noneOf(b) && noneOf(c) })

		c.SetLine(nodetest.Line{BlocksUDP: true})
		m.Await(10*time.Minute, "c is named again", func() bool { return says(a, mesh.ConditionNoAnswer, c.Name) })
		if err := c.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.Await(time.Minute, "c is gone, and so is the condition", func() bool { return len(a.Status().Peers) == 1 && noneOf(a) && noneOf(b) })
	})
}

// A host lacks IPv6, and its peer has both. That is no problem as long as one answers. If none
// does, the addresses that were tried are named, and why one could not be.
func TestNoAnswerWithoutIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := m.Start(m.Internet().Host("192.0.2.1")), m.Start(m.Internet().Host("192.0.2.2", "2001:db8::2"))
		m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(a, b) })
		time.Sleep(10 * time.Minute)
		if !noneOf(a) || !noneOf(b) {
			t.Errorf("a: %+v, b: %+v", a.Status().Conditions, b.Status().Conditions)
		}
		b.SetLine(nodetest.Line{BlocksUDP: true})
		m.Await(15*time.Minute, "what was tried is named", func() bool {
			return says(a, mesh.ConditionNoAnswer, "192.0.2.2:51820", "[2001:db8::2]:51820 (network is unreachable)")
		})
		if text := conditionOf(a, mesh.ConditionSendRefused); text != "" {
			t.Errorf("a says: %q", text)
		}
	})
}

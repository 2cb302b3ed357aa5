package nodetest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/node/nodetest"
	"github.com/wirespan/wirespan/mesh/state"
)

// conditionOf returns the message of a node's condition of a type; empty if it has none.
func conditionOf(n *nodetest.Node, typ mesh.ConditionType) string {
	for _, c := range n.Status().Conditions {
		if c.Type == typ {
			return c.Message
		}
	}
	return ""
}

// says reports whether a node has a condition of a type whose message has all words.
func says(n *nodetest.Node, typ mesh.ConditionType, words ...string) bool {
	message := conditionOf(n, typ)
	for _, w := range words {
		if message == "" || !strings.Contains(message, w) {
			return false
		}
	}
	return message != ""
}

// pinging pings a node once a second until the returned function is called, which returns
// how many pings were sent and lost.
func pinging(t *testing.T, n, to *nodetest.Node) (end func() (sent, lost int)) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	address := to.Address()
	var sent, lost int
	go func() {
		defer close(done)
		for ; ctx.Err() == nil; time.Sleep(time.Second) {
			once, stop := context.WithTimeout(context.Background(), time.Second)
			if _, err := n.Ping(once, address, 56); err != nil {
				lost++
			}
			sent++
			stop()
		}
	}()
	return func() (int, int) {
		cancel()
		<-done
		return sent, lost
	}
}

// Two hosts run with a copy of one state directory. The one that started later withdraws
// before it has touched a session, also while the other one restarts, and all sides say
// where both are. It takes over when the other one has left.
func TestClone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		witness := m.Start(m.Internet().Host("192.0.2.1"))
		box := m.Box()
		host := m.Internet().Host("192.0.2.2")
		original := m.Boot(box, host)
		m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(witness, original) })
		time.Sleep(10 * time.Minute)

		lost := pinging(t, witness, original)
		copied := box.Copy(t)
		clone := m.Boot(copied, m.Internet().Host("192.0.2.3"))
		m.Await(time.Minute, "all sides name both", func() bool {
			for _, n := range []*nodetest.Node{witness, original, clone} {
				if !says(n, mesh.ConditionCloned, "192.0.2.2:", "192.0.2.3:") {
					return false
				}
			}
			return true
		})
		withdrawn := func() bool { return clone.Status().Node.ListenPort == 0 && len(clone.Status().Peers) == 0 }
		m.Await(time.Minute, "the clone has withdrawn", withdrawn)
		for range 90 {
			time.Sleep(time.Minute)
			if !withdrawn() || !nodetest.AllUp(witness, original) {
				t.Fatal("the clone came back, or took the original with it")
			}
		}
		if sent, n := lost(); n != 0 || sent < 1000 {
			t.Errorf("%d of %d pings of the original were lost", n, sent)
		}
		if conditionOf(clone, mesh.ConditionCloned) == "" || conditionOf(witness, mesh.ConditionCloned) != "" {
			t.Errorf("after an hour, the clone says %q and the witness %q", conditionOf(clone, mesh.ConditionCloned), conditionOf(witness, mesh.ConditionCloned))
		}

		original.Stop()
		original = m.Boot(box, host)
		m.Await(time.Minute, "the original is back", func() bool { return nodetest.AllUp(witness, original) })
		time.Sleep(time.Hour)
		if !withdrawn() || !nodetest.AllUp(witness, original) {
			t.Error("the clone took over when the original restarted")
		}

		if err := original.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.Await(time.Minute, "the clone takes over", func() bool { return nodetest.AllUp(witness, clone) })
		if !witness.Reaches(clone) || conditionOf(clone, mesh.ConditionCloned) != "" {
			t.Errorf("the node that took over says %q", conditionOf(clone, mesh.ConditionCloned))
		}
	})
}

// A box that has moved is no clone: it is up after a moment.
func TestMovedBoxIsNoClone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		witness := m.Start(m.Internet().Host("192.0.2.1"))
		box := m.Box()
		before := m.Boot(box, m.Internet().Host("192.0.2.2"))
		m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(witness, before) })
		before.Stop()
		after := m.Boot(box, m.Internet().Host("192.0.2.3"))
		m.Await(time.Minute, "it is up elsewhere", func() bool { return nodetest.AllUp(witness, after) && witness.Reaches(after) })
		time.Sleep(time.Hour)
		for _, n := range []*nodetest.Node{witness, after} {
			if text := conditionOf(n, mesh.ConditionCloned); text != "" {
				t.Errorf("%s says %q", n.Name, text)
			}
		}
	})
}

// A box that was installed anew has another node id and its old name. It is up at once,
// by its node id, and one condition says what to run; then it has the name.
func TestReinstalledBox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		witness := m.Boot(m.Member(), m.Internet().Host("192.0.2.1"))
		box, host := m.Member(), m.Internet().Host("192.0.2.2")
		before := m.Boot(box, host)
		m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(witness, before) })
		before.Stop()
		after := m.Boot(box.Reinstall(t), host)
		id := after.Status().Node.ID
		if id == before.Status().Node.ID {
			t.Fatal("the box has its former node id")
		}
		up := func(label string) bool {
			for _, p := range witness.Status().Peers {
				if p.Label == label && p.State == mesh.PeerStateUp && p.Address == after.Address() {
					return true
				}
			}
			return false
		}
		m.Await(10*time.Second, "it is up by its node id", func() bool { return up(id) && after.Up(witness) })
		var advice []string
		for _, c := range witness.Status().Conditions {
			advice = append(advice, fmt.Sprintf("%s: %s", c.Type, c.Message))
		}
		if len(advice) != 1 || !strings.Contains(advice[0], "wirespan accept "+id) {
			t.Errorf("%d conditions, want one that says what to run:\n%s", len(advice), strings.Join(advice, "\n"))
		}
		time.Sleep(10 * time.Minute)
		if !noneOf(witness) || !noneOf(after) {
			t.Errorf("the former node does not answer, since another one is at its address: %+v, %+v", witness.Status().Conditions, after.Status().Conditions)
		}
		if err := witness.Accept(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		m.Await(time.Minute, "it has the name", func() bool { return up(after.Name) })
		m.Await(time.Hour, "the former record has expired", func() bool {
			return len(witness.Status().Conditions)+len(after.Status().Conditions) == 0
		})
		if !up(after.Name) {
			t.Error("it has lost the name")
		}
	})
}

// A box is restored from a backup that is older than its last records, and its clock is
// behind them, too. It learns from its own last record at discovery.
func TestRestoredBackup(t *testing.T) {
	for name, away := range map[string]bool{"discovery answers": false, "discovery is away at first": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := nodetest.New(t)
				witness := m.Start(m.Internet().Host("192.0.2.1"))
				box, host := m.Box(), m.Internet().Host("192.0.2.2")
				first := m.Boot(box, host)
				m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(witness, first) })
				first.Stop()
				backup := box.Copy(t)

				// The clock was a month ahead, as the highest sequence says. Then it is set
				// back, and the backup restored.
				ahead := time.Now().Add(30 * 24 * time.Hour).UnixMilli()
				if err := os.WriteFile(filepath.Join(box.Dir, state.SequenceFile), fmt.Appendf(nil, `{"Reserved":%d}`, ahead), 0o600); err != nil {
					t.Fatal(err)
				}
				ran := m.Boot(box, host)
				m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(witness, ran) })
				ran.Stop()

				m.Hub.SetAway(away)
				host.Move("192.0.2.9")
				restored := m.Boot(backup, host)
				time.Sleep(5 * time.Minute)
				m.Hub.SetAway(false)
				m.Await(time.Minute, "it is up at its new address", func() bool {
					_, endpoint := peer(t, witness, restored)
					return nodetest.AllUp(witness, restored) && strings.HasPrefix(endpoint, "192.0.2.9:")
				})
				time.Sleep(time.Minute)
				for _, n := range []*nodetest.Node{witness, restored} {
					if c := n.Status().Conditions; len(c) != 0 {
						t.Errorf("%s says %v", n.Name, c)
					}
				}
			})
		})
	}
}

// A host gets another network card, or its first one late: with an address that is
// derived from the node id nothing changes.
func TestNewNetworkCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		witness := m.Start(m.Internet().Host("192.0.2.1"))
		box, late := m.Box(), m.Internet().Host()
		a := m.Boot(box, late) // its card is not there yet
		address := a.Address()
		if !address.IsValid() {
			t.Fatal("without a card, the node has no address")
		}
		late.Move("192.0.2.2")
		m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(witness, a) })
		a.Stop()
		a = m.Boot(box, m.Internet().Host("192.0.2.3"))
		m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(witness, a) })
		if a.Address() != address {
			t.Errorf("with another card, the address is %s, was %s", a.Address(), address)
		}
	})
}

// With the setting mac the address follows the card. Others take the change without accept.
func TestNewMAC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		witness := m.Start(m.Internet().Host("192.0.2.1"))
		box, host := m.Box(), m.Internet().Host("192.0.2.2")
		box.Settings = "mac: 02:00:00:00:00:01\n"
		a := m.Boot(box, host)
		m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(witness, a) })
		before := a.Address()
		a.Stop()
		box.Settings = "mac: 02:00:00:00:00:02\n"
		a = m.Boot(box, host)
		m.Await(time.Minute, "it is up at its new address", func() bool {
			p, _ := witness.Peer(a)
			return p.Address == a.Address() && nodetest.AllUp(witness, a)
		})
		if a.Address() == before || !witness.Reaches(a) || len(witness.Status().Conditions) != 0 {
			t.Errorf("address %s, was %s; conditions %v", a.Address(), before, witness.Status().Conditions)
		}
	})
}

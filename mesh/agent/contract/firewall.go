package contract

import (
	"net/netip"
	"testing"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh/agent"
)

// FirewallCase is a firewall to test, on a host where nothing of ours is in place.
type FirewallCase struct {
	Firewall  agent.Firewall
	Interface string             // of the tunnel; it exists and is up
	Damage    func(t *testing.T) // as another program does it, to what was applied
}

// Firewall tests routing and filtering.
func Firewall(t *testing.T, open func(t *testing.T) FirewallCase) {
	network := netip.MustParsePrefix("10.77.0.0/16")
	inside := firewall.Query{Destination: netip.MustParseAddr("10.77.1.1")}
	policy := func(c FirewallCase) firewall.Policy {
		return firewall.Policy{
			Numbers: firewall.Numbers{
				Table: "wirespan", EncryptedMark: 0x20, TunnelMark: 0x40, Mask: 0x60, RoutingTable: 180, RulePriority: 32500,
			},
			Interface: c.Interface, MTU: 1420, Subnet: netip.MustParsePrefix("fd12:3456:789a:bc02::/64"),
			Routed: []netip.Prefix{network}, ReturnByTunnel: true,
		}
	}
	applied := func(t *testing.T, c FirewallCase, p firewall.Policy) {
		t.Helper()
		if _, err := c.Firewall.Apply(p); err != nil {
			t.Fatalf("Apply = %v", err)
		}
	}
	path := func(t *testing.T, c FirewallCase) firewall.Path {
		t.Helper()
		e, err := c.Firewall.Lookup(inside, policy(c))
		if err != nil {
			t.Fatalf("Lookup = %v", err)
		}
		return e.Path
	}
	silent := func(t *testing.T, c FirewallCase, after string) {
		t.Helper()
		select {
		case <-c.Firewall.Changed():
			t.Errorf("Changed received after %s", after)
		default:
		}
	}

	t.Run("what is routed goes into the tunnel until it is removed", func(t *testing.T) {
		c := open(t)
		if got := path(t, c); got == firewall.PathTunnel {
			t.Errorf("before Apply the path is %v", got)
		}
		for range 2 { // the second time nothing is to do
			applied(t, c, policy(c))
			if got := path(t, c); got != firewall.PathTunnel {
				t.Errorf("after Apply the path is %v", got)
			}
			silent(t, c, "our own Apply")
		}
		for range 2 {
			if err := c.Firewall.Remove(); err != nil {
				t.Fatalf("Remove = %v", err)
			}
			if got := path(t, c); got == firewall.PathTunnel {
				t.Errorf("after Remove the path is %v", got)
			}
			silent(t, c, "our own Remove")
		}
	})

	t.Run("a network that is no longer routed leaves the tunnel", func(t *testing.T) {
		c := open(t)
		p := policy(c)
		applied(t, c, p)
		p.Routed = nil
		applied(t, c, p)
		if got := path(t, c); got == firewall.PathTunnel {
			t.Errorf("the path is %v", got)
		}
	})

	t.Run("an invalid policy is refused and changes nothing", func(t *testing.T) {
		c := open(t)
		applied(t, c, policy(c))
		wrong := policy(c)
		wrong.Table, wrong.Routed = "no name", nil
		if _, err := c.Firewall.Apply(wrong); err == nil {
			t.Error("it was applied")
		}
		if got := path(t, c); got != firewall.PathTunnel {
			t.Errorf("the path is %v", got)
		}
	})

	t.Run("damage is signalled, and the next Apply repairs it", func(t *testing.T) {
		c := open(t)
		applied(t, c, policy(c))
		c.Damage(t)
		await(t, nil, func() bool {
			select {
			case <-c.Firewall.Changed():
				return true
			default:
				return false
			}
		})
		applied(t, c, policy(c))
		if got := path(t, c); got != firewall.PathTunnel {
			t.Errorf("after the repair the path is %v", got)
		}
	})
}

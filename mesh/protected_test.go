package mesh

import "testing"

// The founder of a mesh gets its own address; no other peer gets a network around it.
func TestFounderIsDiscoveryServer(t *testing.T) {
	in := testInput()
	in.Config.ForceRouting = true
	in.Host.DiscoveryServers, in.Host.PeerDiscovery = addrs("172.20.2.9"), true
	thief, founder := testPeer("a1", "11"), testPeer("n2", "12")
	thief.AdditionalAddresses, founder.Addresses = prefixes("172.20.2.8/30"), addrs("172.20.2.9")
	in.Affiliates = []Affiliate{thief, founder}
	for _, s := range Decide(in, testNow).Specs {
		for _, p := range s.AllowedIPs {
			if p.Contains(in.Host.DiscoveryServers[0]) != (s.NodeID == "n2" && p.Bits() == 32) {
				t.Errorf("%s has %v", s.NodeID, p)
			}
		}
	}
	in.Host.PeerDiscovery = false
	if plan := Decide(in, testNow); len(plan.Routed) == 0 || plan.Routed[0].Contains(in.Host.DiscoveryServers[0]) {
		t.Errorf("routed %v", plan.Routed)
	}
}

package state

import (
	"net/netip"
	"testing"

	"github.com/wirespan/wirespan/firewall"
)

// The policy file stays small however many sources the ingress rules have, and compiles
// to the same chains and sets.
func TestPolicyFileIsSmall(t *testing.T) {
	st := openState(t, t.TempDir())
	memory, err := OpenMemory(st)
	if err != nil {
		t.Fatal(err)
	}
	p := firewall.Policy{Numbers: firewall.Numbers{Table: "wirespan", EncryptedMark: 0x20, TunnelMark: 0x40, Mask: 0x60, RoutingTable: 180, RulePriority: 32500}, Interface: "wirespan0", MTU: 1420}
	var sources []netip.Prefix
	for i := range 1 << 16 {
		sources = append(sources, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32))
	}
	p.Ingress.Rules = []firewall.IngressRule{{Name: "many", Protocol: firewall.ProtocolTCP, Sources: sources}}
	if err := memory.KeepPolicy(p); err != nil {
		t.Fatal(err)
	}
	if data, err := st.Read(PolicyFile); err != nil || len(data) > 1000 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	again, err := OpenPolicy(st)
	if err != nil {
		t.Fatal(err)
	}
	if !firewall.Compile(again.Policy()).SameShape(firewall.Compile(p)) || len(memory.Policy().Ingress.Rules[0].Sources) != len(sources) {
		t.Errorf("kept %+v", again.Policy())
	}
}

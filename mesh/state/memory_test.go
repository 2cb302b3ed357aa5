package state

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// The policy file stays small however many sources the ingress rules have, and compiles
// to the same chains and sets.
func TestPolicyFileIsSmall(t *testing.T) {
	st := openState(t, t.TempDir())
	memory := openMemory(t, st)
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

func openMemory(t *testing.T, st *Dir) *Memory {
	t.Helper()
	m, err := OpenMemory(st)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPins(t *testing.T) {
	for name, st := range states(t) {
		t.Run(name, func(t *testing.T) {
			m := openMemory(t, st)
			one, two := mesh.ULA("one"), mesh.ULA("two")
			pins := []mesh.Pin{{NodeID: "n", PublicKey: mesh.Key{1}, FirstSeen: time.Unix(1e9, 0).UTC(), LastSeen: time.Unix(2e9, 0).UTC(), Nodename: "name"}}
			if got := m.Pins(one); got != nil {
				t.Errorf("pins at the first start: %+v", got)
			}
			if err := m.KeepPins(one, pins); err != nil {
				t.Fatal(err)
			}
			for which, m := range map[string]*Memory{"the same": m, "a later one": openMemory(t, st)} {
				if got := m.Pins(one); !reflect.DeepEqual(got, pins) {
					t.Errorf("%s: pins %+v, want %+v", which, got, pins)
				}
				if got := m.Pins(two); got != nil {
					t.Errorf("%s: pins of another cluster: %+v", which, got)
				}
			}
			if err := st.Remove(PinsFile); err != nil {
				t.Fatal(err)
			}
			if err := m.KeepPins(one, slices.Clone(pins)); err != nil {
				t.Error(err)
			}
			if _, err := st.Read(PinsFile); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("unchanged pins were written again: %v", err)
			}
			if err := m.KeepPins(two, pins); err != nil {
				t.Error(err)
			}
			if got := openMemory(t, st).Pins(one); got != nil {
				t.Errorf("pins of the former cluster: %+v", got)
			}
		})
	}
}

func TestForgetPolicy(t *testing.T) {
	for name, st := range states(t) {
		t.Run(name, func(t *testing.T) {
			m := openMemory(t, st)
			p := firewall.Policy{Numbers: firewall.Numbers{Table: "t", EncryptedMark: 0x20, TunnelMark: 0x40, Mask: 0x60, RoutingTable: 180, RulePriority: 32500}, Interface: "w0", MTU: 1420}
			if err := m.KeepPolicy(p); err != nil {
				t.Fatal(err)
			}
			if got := openMemory(t, st).Policy(); got.Table != "t" {
				t.Errorf("policy %+v", got)
			}
			for range 2 { // the second time there is no file
				if err := m.ForgetPolicy(); err != nil {
					t.Error(err)
				}
			}
			if got := m.Policy(); got.Table != "" {
				t.Errorf("policy %+v is not forgotten", got)
			}
			if got := openMemory(t, st).Policy(); got.Table != "" {
				t.Errorf("policy %+v is not removed", got)
			}
		})
	}
}

// A damaged file is an error with its remedy. Damaged pins do not prevent that the rules
// are restored.
func TestDamagedMemory(t *testing.T) {
	for name, test := range map[string]struct{ file, content, want string }{
		"pins":              {PinsFile, "{", "remove it to accept every node as it is now"},
		"policy":            {PolicyFile, "[]", "the agent writes a new one"},
		"impossible policy": {PolicyFile, `{"Table": "no name"}`, "is damaged"},
	} {
		st := openState(t, t.TempDir())
		if err := st.Create(test.file, []byte(test.content)); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenMemory(st); err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), st.Path(test.file)) {
			t.Errorf("%s: OpenMemory = %v, want %q", name, err, test.want)
		}
		if _, err := OpenPolicy(st); (err == nil) != (test.file == PinsFile) {
			t.Errorf("%s: OpenPolicy = %v", name, err)
		}
		if got, err := os.ReadFile(st.Path(test.file)); err != nil || string(got) != test.content {
			t.Errorf("%s: the file is now %q, %v", name, got, err)
		}
	}
}

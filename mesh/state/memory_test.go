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
	memory := OpenMemory(st)
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
	again := OpenPolicy(st)
	if !firewall.Compile(again.Policy()).SameShape(firewall.Compile(p)) || len(memory.Policy().Ingress.Rules[0].Sources) != len(sources) {
		t.Errorf("kept %+v", again.Policy())
	}
}

func TestPins(t *testing.T) {
	for name, st := range states(t) {
		t.Run(name, func(t *testing.T) {
			m := OpenMemory(st)
			one, two := mesh.ULA("one"), mesh.ULA("two")
			pins := []mesh.Pin{{NodeID: "n", PublicKey: mesh.Key{1}, FirstSeen: time.Unix(1e9, 0).UTC(), LastSeen: time.Unix(2e9, 0).UTC(), Nodename: "name"}}
			if got := m.Pins(one); got != nil {
				t.Errorf("pins at the first start: %+v", got)
			}
			if !m.SetPins(one, pins) {
				t.Error("new pins are no change")
			}
			if _, err := st.Read(PinsFile); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("pins were written at once: %v", err)
			}
			if err := m.WritePins(); err != nil {
				t.Fatal(err)
			}
			for which, m := range map[string]*Memory{"the same": m, "a later one": OpenMemory(st)} {
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
			if m.SetPins(one, slices.Clone(pins)) {
				t.Error("the same pins are a change")
			}
			if err := m.WritePins(); err != nil {
				t.Error(err)
			}
			if _, err := st.Read(PinsFile); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("unchanged pins were written again: %v", err)
			}
			m.SetPins(two, pins)
			if err := m.WritePins(); err != nil {
				t.Error(err)
			}
			if got := OpenMemory(st).Pins(one); got != nil {
				t.Errorf("pins of the former cluster: %+v", got)
			}
		})
	}
}

func TestForgetPolicy(t *testing.T) {
	for name, st := range states(t) {
		t.Run(name, func(t *testing.T) {
			m := OpenMemory(st)
			p := firewall.Policy{Numbers: firewall.Numbers{Table: "t", EncryptedMark: 0x20, TunnelMark: 0x40, Mask: 0x60, RoutingTable: 180, RulePriority: 32500}, Interface: "w0", MTU: 1420}
			if err := m.KeepPolicy(p); err != nil {
				t.Fatal(err)
			}
			if got := OpenMemory(st).Policy(); got.Table != "t" {
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
			if got := OpenMemory(st).Policy(); got.Table != "" {
				t.Errorf("policy %+v is not removed", got)
			}
		})
	}
}

// A damaged file stops nobody: it is set aside, in place of an older one, and a condition
// says so.
func TestDamagedMemory(t *testing.T) {
	for name, test := range map[string]struct{ file, content, want string }{
		"pins":              {PinsFile, "{", "every node is taken as it is now"},
		"policy":            {PolicyFile, "[]", "what is in the kernel stays"},
		"impossible policy": {PolicyFile, `{"Table": "no name"}`, "what is in the kernel stays"},
	} {
		for where, st := range states(t) {
			for _, content := range []string{"older", test.content} {
				if err := st.Create(test.file, []byte(content)); err != nil {
					t.Fatal(err)
				}
				m := OpenMemory(st)
				got := m.Damaged()
				if len(got) != 1 || got[0].Type != ConditionDamaged || got[0].Subject != test.file || !m.IsDamaged(test.file) ||
					!strings.Contains(got[0].Message, test.want) || !strings.Contains(got[0].Message, st.Path(test.file+".damaged")) {
					t.Errorf("%s, %s: conditions %+v", name, where, got)
				}
				if m.Policy().Table != "" || m.Pins(netip.Prefix{}) != nil {
					t.Errorf("%s, %s: %+v, %+v", name, where, m.Policy(), m.pins)
				}
			}
			if got, err := st.Read(test.file + ".damaged"); err != nil || string(got) != test.content {
				t.Errorf("%s, %s: set aside is %q, %v", name, where, got, err)
			}
			// Only pins can't be found out again.
			if m := OpenMemory(st); m.IsDamaged(PinsFile) != (test.file == PinsFile) || m.IsDamaged(PolicyFile) {
				t.Errorf("%s, %s: the next time %+v", name, where, m.Damaged())
			}
			if err := st.Remove(test.file + ".damaged"); err != nil {
				t.Fatal(err)
			}
			if m := OpenMemory(st); m.Damaged() != nil {
				t.Errorf("%s, %s: once it is removed %+v", name, where, m.Damaged())
			}
		}
	}
}

// A file that others may write is not believed, and a directory in its place is none.
func TestUnreadableMemory(t *testing.T) {
	st := openState(t, t.TempDir())
	if err := st.Create(PolicyFile, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(st.Path(PolicyFile), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(st.Path(PinsFile), 0o700); err != nil {
		t.Fatal(err)
	}
	m := OpenMemory(st)
	if got := m.Damaged(); len(got) != 2 {
		t.Errorf("conditions %+v", got)
	}
	m.SetPins(mesh.ULA("one"), []mesh.Pin{{NodeID: "n"}})
	if err := m.WritePins(); err != nil {
		t.Error(err)
	}
}

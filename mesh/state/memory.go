package state

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// Files of a [Memory].
const (
	// PinsFile holds the pinned identities.
	PinsFile = "pins.json"
	// PolicyFile holds the last policy, which `wirespan firewall restore` applies.
	PolicyFile = "firewall.json"
)

// CacheFile holds the affiliates that a node remembers, sealed.
const CacheFile = "affiliates.cache"

// Memory holds the identities that earlier agents have seen, and the last policy, which
// stays in force until discovery has answered.
type Memory struct {
	state  *Dir
	pins   pinsDocument
	dirty  bool            // pins are not written yet
	policy firewall.Policy // zero: none

	damaged []mesh.Condition
}

type pinsDocument struct {
	Cluster netip.Prefix // of the pinned nodes
	Pins    []mesh.Pin
}

// OpenMemory reads what an earlier agent stored. Damaged files are set aside. Pins can't be
// found out again: until the user has removed what was set aside, a condition tells of it.
func OpenMemory(st *Dir) *Memory {
	m := OpenPolicy(st)
	const consequence = "every node is taken as it is now, and pinned anew"
	m.pins = Derived[pinsDocument](m, PinsFile, consequence, nil)
	m.remind(PinsFile, consequence)
	return m
}

// OpenPolicy reads only the policy that an earlier agent applied.
func OpenPolicy(st *Dir) *Memory {
	m := &Memory{state: st}
	m.policy = Derived(m, PolicyFile, "what is in the kernel stays until discovery has answered", func(p firewall.Policy) error {
		if p.Table == "" {
			return nil
		}
		return p.Check()
	})
	return m
}

func (m *Memory) write(name string, what any) error {
	data, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name, err)
	}
	return m.state.Replace(name, append(data, '\n'))
}

// Pins returns the pins of a cluster.
func (m *Memory) Pins(cluster netip.Prefix) []mesh.Pin {
	if m.pins.Cluster != cluster {
		return nil
	}
	return m.pins.Pins
}

// SetPins sets the pins, and reports whether they have changed. WritePins writes them.
func (m *Memory) SetPins(cluster netip.Prefix, pins []mesh.Pin) (changed bool) {
	if m.pins.Cluster == cluster && reflect.DeepEqual(m.pins.Pins, pins) {
		return false
	}
	m.pins, m.dirty = pinsDocument{cluster, pins}, true
	return true
}

// WritePins stores the pins, if SetPins has changed them.
func (m *Memory) WritePins() error {
	if !m.dirty {
		return nil
	}
	if err := m.write(PinsFile, m.pins); err != nil {
		return err
	}
	m.dirty = false
	return nil
}

// Policy returns the last stored policy, or a zero one.
func (m *Memory) Policy() firewall.Policy { return m.policy }

// KeepPolicy stores the policy. It reduces the sources of each ingress rule to one per
// address family: there can be many, they have no effect without a tunnel, and one per
// family compiles to the same rules.
func (m *Memory) KeepPolicy(p firewall.Policy) error {
	written := p
	written.Ingress.Rules = slices.Clone(p.Ingress.Rules)
	for i := range written.Ingress.Rules {
		r := &written.Ingress.Rules[i]
		r.Sources = slices.CompactFunc(slices.Clone(r.Sources), func(a, b netip.Prefix) bool { return a.Addr().Is4() == b.Addr().Is4() })
	}
	if err := m.write(PolicyFile, written); err != nil {
		return err
	}
	m.policy = p
	return nil
}

// ForgetPolicy removes the stored policy, once nothing of it is in the kernel.
func (m *Memory) ForgetPolicy() error {
	m.policy = firewall.Policy{}
	return m.state.Remove(PolicyFile)
}

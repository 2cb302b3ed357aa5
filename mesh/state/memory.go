package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

// Memory holds the identities that earlier agents have seen, and the last policy, which
// stays in force until discovery has answered.
type Memory struct {
	state  *Dir
	pins   pinsDocument
	policy firewall.Policy // zero: none
}

type pinsDocument struct {
	Cluster netip.Prefix // of the pinned nodes
	Pins    []mesh.Pin
}

// OpenMemory reads what an earlier agent stored.
func OpenMemory(st *Dir) (*Memory, error) {
	m, err := OpenPolicy(st)
	if err != nil {
		return nil, err
	}
	return m, m.read(PinsFile, &m.pins, "remove it to accept every node as it is now")
}

// OpenPolicy reads only the policy that an earlier agent applied. It must be possible
// to restore and to remove it even if the other files are damaged.
func OpenPolicy(st *Dir) (*Memory, error) {
	const remedy = "remove it: the agent writes a new one"
	m := &Memory{state: st}
	if err := m.read(PolicyFile, &m.policy, remedy); err != nil {
		return nil, err
	}
	if m.policy.Table == "" {
		return m, nil
	}
	if err := m.policy.Check(); err != nil {
		return nil, fmt.Errorf("state file %q is damaged: %w (%s)", st.Path(PolicyFile), err, remedy)
	}
	return m, nil
}

func (m *Memory) read(name string, into any, remedy string) error {
	data, err := m.state.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("state file %q is damaged: %w (%s)", m.state.Path(name), err, remedy)
	}
	return nil
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

// KeepPins stores the pins if they have changed.
func (m *Memory) KeepPins(cluster netip.Prefix, pins []mesh.Pin) error {
	if m.pins.Cluster == cluster && reflect.DeepEqual(m.pins.Pins, pins) {
		return nil
	}
	doc := pinsDocument{cluster, pins}
	if err := m.write(PinsFile, doc); err != nil {
		return err
	}
	m.pins = doc
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

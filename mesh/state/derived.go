package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// ConditionDamaged reports a file that was damaged and has been set aside.
const ConditionDamaged mesh.ConditionType = "StateDamaged"

// Derived reads a JSON file of what the agent finds out again by itself. Such a file
// never stops the agent: one that cannot be used is set aside, a condition of the memory
// says so and what follows, and Derived returns the zero value.
func Derived[T any](m *Memory, name, consequence string, check func(T) error) (value T) {
	data, err := m.state.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return value
	}
	if err == nil {
		err = json.Unmarshal(data, &value)
	}
	if err == nil && check != nil {
		err = check(value)
	}
	if err != nil {
		m.setAside(name, consequence, err)
		var none T
		return none
	}
	return value
}

// setAside sets aside a file that could not be used because of an error.
func (m *Memory) setAside(name, consequence string, err error) {
	where := fmt.Sprintf("it is now %q: look at it, and remove it", m.state.Path(name+damagedSuffix))
	if aside := m.state.SetAside(name); aside != nil {
		where = aside.Error()
	}
	m.damaged = append(m.damaged, mesh.Condition{
		Type: ConditionDamaged, Subject: name,
		Message: fmt.Sprintf("state file %q could not be used (%v); %s; %s", m.state.Path(name), err, consequence, where),
	})
}

// Damaged returns a condition for each file that was damaged when this process read it.
func (m *Memory) Damaged() []mesh.Condition { return m.damaged }

// IsDamaged reports whether there is a condition about a file.
func (m *Memory) IsDamaged(name string) bool {
	for i := range m.damaged {
		if m.damaged[i].Subject == name {
			return true
		}
	}
	return false
}

// remind adds a condition about a file that an earlier agent has set aside, and that
// nobody has looked at.
func (m *Memory) remind(name, consequence string) {
	aside := name + damagedSuffix
	if _, err := m.state.Read(aside); m.IsDamaged(name) || errors.Is(err, fs.ErrNotExist) {
		return
	}
	m.damaged = append(m.damaged, mesh.Condition{
		Type: ConditionDamaged, Subject: name,
		Message: fmt.Sprintf("%q could not be used at an earlier start; %s; look at it, remove it, and restart the agent", m.state.Path(aside), consequence),
	})
}

// Assume makes p the last policy, in place of one that was damaged.
func (m *Memory) Assume(p firewall.Policy) { m.policy = p }

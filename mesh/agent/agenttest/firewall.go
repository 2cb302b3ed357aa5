package agenttest

import (
	"net/netip"
	"sync"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// Firewall is a kernel in memory.
type Firewall struct {
	Disturbed mesh.Signal

	mu       sync.Mutex
	Policy   *firewall.Policy // nil: nothing is in place
	History  []firewall.Policy
	Removals int
	Warnings []mesh.Condition
	Err      error
	Lacking  firewall.Lacks
	OnApply  func() // called by Apply
}

// NewFirewall returns a kernel in which nothing is in place.
func NewFirewall() *Firewall { return &Firewall{Disturbed: mesh.NewSignal()} }

// Apply puts a valid policy in place, or returns Err.
func (f *Firewall) Apply(p firewall.Policy) ([]mesh.Condition, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.OnApply != nil {
		f.OnApply()
	}
	if f.Err != nil {
		return f.Warnings, f.Err
	}
	if err := p.Check(); err != nil {
		return f.Warnings, err
	}
	f.Policy = &p
	f.History = append(f.History, p)
	return f.Warnings, nil
}

// Lacks returns Lacking.
func (f *Firewall) Lacks() firewall.Lacks {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Lacking
}

// Remove takes the policy out, or returns Err.
func (f *Firewall) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Removals++
	if f.Err != nil {
		return f.Err
	}
	f.Policy = nil
	return nil
}

// Lookup answers by the policy in place.
func (f *Firewall) Lookup(q firewall.Query, p firewall.Policy) (firewall.Explanation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Policy == nil {
		return firewall.Explanation{Path: firewall.PathBypass}, f.Err
	}
	return f.Policy.Explain(q), f.Err
}

// Changed signals what the test does to the policy, through Disturbed.
func (f *Firewall) Changed() <-chan struct{} { return f.Disturbed }

// Routed returns what is routed now.
func (f *Firewall) Routed() []netip.Prefix {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Policy == nil {
		return nil
	}
	return f.Policy.Routed
}

// With runs fn under the lock.
func (f *Firewall) With(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

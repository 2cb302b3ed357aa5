package agenttest

import (
	"net/netip"
	"sync"

	"github.com/wirespan/wirespan/mesh"
)

// Host is a machine in memory.
type Host struct {
	changed mesh.Signal

	mu       sync.Mutex
	LinkList []mesh.Link
	Err      error

	Facts mesh.Underlay
	Name  string
}

// NewHost returns a machine with a name and one link that has a default route.
func NewHost() *Host {
	return &Host{
		changed: mesh.NewSignal(), Name: "self.example",
		LinkList: []mesh.Link{{
			Name: "eth0", Up: true, DefaultRoute: true, MTU: 1500,
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
		}},
	}
}

// Links returns LinkList, or Err.
func (h *Host) Links() ([]mesh.Link, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.LinkList, h.Err
}

// Underlay returns Facts, or Err.
func (h *Host) Underlay() (mesh.Underlay, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Facts, h.Err
}

// Hostname returns Name.
func (h *Host) Hostname() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Name
}

// Changed signals each Change.
func (h *Host) Changed() <-chan struct{} { return h.changed }

// Change changes the machine and signals it.
func (h *Host) Change(f func()) {
	h.mu.Lock()
	f()
	h.mu.Unlock()
	h.changed.Notify()
}

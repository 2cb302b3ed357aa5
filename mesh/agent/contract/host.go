package contract

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// Host tests the view of a machine. Open returns it, already observing, and a
// function that changes an address of the machine.
func Host(t *testing.T, open func(t *testing.T) (h agent.Host, change func(t *testing.T))) {
	t.Run("links have unique names, in order", func(t *testing.T) {
		h, _ := open(t)
		links, err := h.Links()
		if err != nil || len(links) == 0 {
			t.Fatalf("Links = %v, %v", links, err)
		}
		names := make([]string, len(links))
		for i, l := range links {
			names[i] = l.Name
		}
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("names %q", names)
		}
		again, err := h.Links()
		if err != nil || !slices.EqualFunc(links, again, func(a, b mesh.Link) bool { return strings.Compare(a.Name, b.Name) == 0 }) {
			t.Errorf("a second look shows %v, %v", again, err)
		}
	})

	t.Run("underlay and MAC can be read", func(t *testing.T) {
		h, _ := open(t)
		u, err := h.Underlay()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range slices.Concat(u.Gateways, u.DNSServers) {
			if !a.IsValid() || a.IsLoopback() {
				t.Errorf("the host depends on %v", a)
			}
		}
	})

	t.Run("changes are signalled and can be read then", func(t *testing.T) {
		h, change := open(t)
		before, err := h.Links()
		if err != nil {
			t.Fatal(err)
		}
		change(t)
		deadline := time.After(Timeout)
		for {
			select {
			case <-h.Changed():
			case <-deadline:
				t.Fatal("the change was not signalled")
			}
			after, err := h.Links()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(before, after, sameAddresses) {
				return
			}
		}
	})
}

func sameAddresses(a, b mesh.Link) bool {
	return a.Name == b.Name && slices.Equal(a.Addresses, b.Addresses)
}

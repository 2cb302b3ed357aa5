package config

import (
	"fmt"
	"net/netip"
	"path"
)

// CheckForwards reports what is wrong with a set of forwards: listeners that overlap, or
// too many of them.
func CheckForwards(forwards []Forward) error {
	if len(forwards) > maxForwards {
		return fmt.Errorf("%d forwards: at most %d", len(forwards), maxForwards)
	}
	ports := 0
	for i := range forwards {
		f := &forwards[i]
		if f.Socket == "" {
			ports += int(f.Ports.To) - int(f.Ports.From) + 1
		}
		for j := range i {
			if overlap(&forwards[j], f) {
				return fmt.Errorf("%s forwards %q and %q listen on the same %s", f.Kind, clip(forwards[j].String()), clip(f.String()), f.listener())
			}
		}
	}
	if ports > maxForwardPorts {
		return fmt.Errorf("forwards listen on %d ports: at most %d", ports, maxForwardPorts)
	}
	return nil
}

func (f *Forward) listener() string {
	if f.Socket != "" {
		return "socket"
	}
	return string(f.Protocol) + " port"
}

// overlap reports whether two forwards can't both listen.
func overlap(a, b *Forward) bool {
	switch {
	case a.Kind != b.Kind || (a.Socket == "") != (b.Socket == ""):
		return false
	case a.Socket != "":
		return path.Clean(a.Socket) == path.Clean(b.Socket)
	case a.Protocol != b.Protocol || a.Ports.From > b.Ports.To || b.Ports.From > a.Ports.To:
		return false
	}
	return a.Kind == ForwardMesh || a.bindsWith(b) || b.bindsWith(a)
}

// bindsWith reports whether an address of f is, or contains, one of other's.
func (f *Forward) bindsWith(other *Forward) bool {
	for _, a := range f.binds() {
		for _, b := range other.binds() {
			if a == b || a == netip.IPv6Unspecified() || a == netip.IPv4Unspecified() && b.Is4() {
				return true
			}
		}
	}
	return false
}

func (f *Forward) binds() []netip.Addr {
	if !f.Bind.IsValid() {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return []netip.Addr{f.Bind}
}

package netlink

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Address is an IP address of an interface.
type Address struct {
	Link   uint32       // index of the interface
	Prefix netip.Prefix // the address, and the length of its network; that of one address if there is a peer
	Peer   netip.Prefix // the other end, and the length of its network; invalid: none
	Scope  byte         // unix.RT_SCOPE_LINK and so on
	Flags  uint32       // unix.IFA_F_NODAD and so on
}

// Addresses returns the addresses of an interface; 0: of all.
func (r *RTNetlink) Addresses(link uint32) ([]Address, error) {
	var out []Address
	err := r.dump(unix.RTM_GETADDR, Address{Link: link}.header, func() { out = nil }, func(m Message) {
		a, ok := ParseAddress(m)
		if ok && (link == 0 || a.Link == link) { // before Linux 5.0 nothing is filtered
			out = append(out, a)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return out, nil
}

// ParseAddress decodes a message about an address; ok is false for any other message.
func ParseAddress(m Message) (a Address, ok bool) {
	if m.Type != unix.RTM_NEWADDR && m.Type != unix.RTM_DELADDR || len(m.Body) < unix.SizeofIfAddrmsg {
		return Address{}, false
	}
	a = Address{Link: hostUint32(m.Body[4:]), Scope: m.Body[3], Flags: uint32(m.Body[2])}
	attributes := m.Body[unix.SizeofIfAddrmsg:]
	if flags := Attribute(attributes, unix.IFA_FLAGS); flags != nil { // those of the header have 8 bits
		a.Flags = hostUint32(flags)
	}
	address, _ := netip.AddrFromSlice(Attribute(attributes, unix.IFA_ADDRESS)) // the other end, if it is not the only one
	local, _ := netip.AddrFromSlice(Attribute(attributes, unix.IFA_LOCAL))
	a.Prefix = netip.PrefixFrom(address, int(m.Body[1]))
	if local.IsValid() && local != address {
		a.Peer, a.Prefix = a.Prefix, netip.PrefixFrom(local, local.BitLen())
	}
	return a, a.Prefix.IsValid()
}

// ReplaceAddress adds an address, or changes the flags of the one that is there.
func (r *RTNetlink) ReplaceAddress(a Address) error {
	return r.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a.encode, nil)
}

// DeleteAddress deletes an address.
func (r *RTNetlink) DeleteAddress(a Address) error {
	return r.request(unix.RTM_DELADDR, 0, a.encode, nil)
}

func (a Address) encode(e *Encoder) {
	network := a.Prefix
	if a.Peer.IsValid() {
		network = a.Peer
	}
	at := len(e.b)
	a.header(e)
	e.b[at], e.b[at+1], e.b[at+2], e.b[at+3] = unix.AF_INET, byte(network.Bits()), byte(a.Flags), a.Scope
	if a.Prefix.Addr().Is6() {
		e.b[at] = unix.AF_INET6
	}
	e.Bytes(unix.IFA_ADDRESS, network.Addr().AsSlice())
	e.Bytes(unix.IFA_LOCAL, a.Prefix.Addr().AsSlice())
	e.Uint32(unix.IFA_FLAGS, a.Flags)
}

// header appends a struct ifaddrmsg that names the interface alone.
func (a Address) header(e *Encoder) {
	e.b = append(e.b, make([]byte, unix.SizeofIfAddrmsg)...)
	putUint32(e.b[len(e.b)-4:], a.Link)
}

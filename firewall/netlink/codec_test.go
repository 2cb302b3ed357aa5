package netlink

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// messageOf returns the message that a change would send.
func messageOf(c Change) Message {
	var e Encoder
	at := e.begin(c.typ, c.flags, 7)
	c.fill(&e)
	e.End(at)
	for m := range Messages(e.b) {
		return m
	}
	return Message{}
}

func TestRouteRoundTrip(t *testing.T) {
	for _, r := range []Route{
		{RouteKey: RouteKey{netip.MustParsePrefix("0.0.0.0/0"), 180, 1}, Type: unix.RTN_UNICAST, Protocol: unix.RTPROT_STATIC, Interface: 4, MTU: 1420},
		{RouteKey: RouteKey{netip.MustParsePrefix("10.1.0.0/16"), 254, 0}, Type: unix.RTN_UNICAST, Interface: 4},
		{RouteKey: RouteKey{netip.MustParsePrefix("fd12::/64"), 70000, 1<<31 - 1}, Type: unix.RTN_UNREACHABLE, Scope: unix.RT_SCOPE_UNIVERSE},
	} {
		m := messageOf(AddRoute(r, unix.NLM_F_EXCL))
		if got, ok := ParseRoute(m); !ok || got != r {
			t.Errorf("%+v became %+v, %v", r, got, ok)
		}
		if hops := NextHops(m); r.Interface != 0 && !slices.Equal(hops, []NextHop{{Interface: r.Interface}}) {
			t.Errorf("%v: next hops %v", r, hops)
		}
		if got, ok := ParseRoute(messageOf(DeleteRoute(r))); !ok || got != r {
			t.Errorf("%+v is deleted as %+v, %v", r, got, ok)
		}
	}
}

func TestRuleRoundTrip(t *testing.T) {
	for _, r := range []Rule{
		{Priority: 32500, Mark: 0x40, Mask: 0x60, Table: 180, Protocol: unix.RTPROT_STATIC},
		{IPv6: true, Priority: 32768, Mask: 0x60, Table: 70000, SuppressDefault: true},
	} {
		if got, ok := ParseRule(messageOf(AddRule(r))); !ok || got != r {
			t.Errorf("%+v became %+v, %v", r, got, ok)
		}
		if got, ok := ParseRule(messageOf(DeleteRule(r))); !ok || got != r {
			t.Errorf("%+v is deleted as %+v, %v", r, got, ok)
		}
	}
}

func TestAddressRoundTrip(t *testing.T) {
	for _, a := range []Address{
		{Link: 4, Prefix: netip.MustParsePrefix("192.0.0.8/32"), Scope: unix.RT_SCOPE_LINK},
		{Link: 4, Prefix: netip.MustParsePrefix("10.0.0.1/32"), Peer: netip.MustParsePrefix("10.0.1.0/24")},
		{Link: 1 << 20, Prefix: netip.MustParsePrefix("fd00::1/64"), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE},
	} {
		m := messageOf(Change{typ: unix.RTM_NEWADDR, fill: a.encode})
		if got, ok := ParseAddress(m); !ok || got != a {
			t.Errorf("%+v became %+v, %v", a, got, ok)
		}
		if m.Body[2] != byte(a.Flags) {
			t.Errorf("%+v: flags %#x in the header", a, m.Body[2])
		}
	}
	// IPv6 addresses come without IFA_LOCAL, and from old kernels without IFA_FLAGS.
	m := messageOf(Change{typ: unix.RTM_DELADDR, fill: func(e *Encoder) {
		e.b = append(e.b, unix.AF_INET6, 64, unix.IFA_F_TENTATIVE, 0, 0, 0, 0, 0)
		e.Bytes(unix.IFA_ADDRESS, netip.MustParseAddr("fd00::1").AsSlice())
	}})
	want := Address{Prefix: netip.MustParsePrefix("fd00::1/64"), Flags: unix.IFA_F_TENTATIVE}
	if got, ok := ParseAddress(m); !ok || got != want {
		t.Errorf("%+v, %v, want %+v", got, ok, want)
	}
}

func TestParseLink(t *testing.T) {
	want := Link{
		Index: 4, Name: "blue", Kind: KindVRF, Flags: unix.IFF_UP | unix.IFF_LOWER_UP, Up: true,
		OperState: OperUp, MTU: 1400, Master: 3, Table: 70000,
	}
	m := messageOf(Change{typ: unix.RTM_NEWLINK, fill: fillLink})
	if got := ParseLink(m); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	m.Body = m.Body[:unix.SizeofIfInfomsg-1]
	if got := ParseLink(m); got != (Link{}) {
		t.Errorf("half a message is %+v", got)
	}
}

// fillLink appends a message about a VRF.
func fillLink(e *Encoder) {
	e.linkHeader(4, unix.IFF_UP|unix.IFF_LOWER_UP, 0)
	e.Text(unix.IFLA_IFNAME, "blue")
	e.Uint32(unix.IFLA_MTU, 1400)
	e.Uint32(unix.IFLA_MASTER, 3)
	e.Bytes(unix.IFLA_OPERSTATE, []byte{OperUp})
	info := e.Nest(unix.IFLA_LINKINFO)
	data := e.Nest(unix.IFLA_INFO_DATA)
	e.Uint32(unix.IFLA_VRF_TABLE, 70000)
	e.EndNest(data)
	e.Text(unix.IFLA_INFO_KIND, KindVRF)
	e.EndNest(info)
}

// A batch splits many elements into messages that each fit an attribute.
func TestElementsRoundTrip(t *testing.T) {
	var prefixes []netip.Prefix
	for i := range 5000 {
		prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, byte(i >> 8), byte(i)}), 48))
	}
	want := Intervals(prefixes)
	b := (&Nftables{}).NewBatch(1)
	for rest := want; len(rest) > 0; {
		rest = b.Elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "wirespan", "routed6", rest)
	}
	var elements []element
	messages := 0
	for m := range Messages(b.b) {
		if m.Type != nftType(unix.NFT_MSG_NEWSETELEM) {
			continue
		}
		messages++
		if name, ok := EventTable(m); !ok || name != "wirespan" {
			t.Errorf("a message is about table %q, %v", name, ok)
		}
		elements = appendElements(elements, nftAttributes(m))
	}
	got, err := pair(elements)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%d of %d intervals, %v", len(got), len(want), err)
	}
	if messages < 2 || messages != b.count {
		t.Errorf("%d messages, of which the batch counts %d", messages, b.count)
	}
}

func TestErrorOf(t *testing.T) {
	var e Encoder
	at := e.begin(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, 1)
	e.b = append(e.b, make([]byte, 4+unix.SizeofNlMsghdr)...)
	denied := unix.EPERM
	putUint32(e.b[unix.SizeofNlMsghdr:], uint32(-int32(denied)))
	e.Text(unix.NLMSGERR_ATTR_MSG, "not yours")
	e.End(at)
	for m := range Messages(e.b) {
		if err := errorOf(m); !errors.Is(err, unix.EPERM) || err.Error() != unix.EPERM.Error()+" (kernel: not yours)" {
			t.Errorf("error %v", err)
		}
		m.Body = make([]byte, 4)
		if err := errorOf(m); err != nil {
			t.Errorf("success is error %v", err)
		}
	}
}

// FuzzDecode checks that no input makes a decoder panic, and that decoders agree
// on which messages are routes.
func FuzzDecode(f *testing.F) {
	var b bytes.Buffer
	for _, c := range []Change{
		AddRoute(Route{RouteKey: RouteKey{netip.MustParsePrefix("10.1.0.0/16"), 180, 1}, Interface: 4, MTU: 1420}, 0),
		AddRule(Rule{Priority: 1, Mark: 2, Mask: 3, Table: 180, SuppressDefault: true}),
	} {
		var e Encoder
		at := e.begin(c.typ, 0, 1)
		c.fill(&e)
		e.End(at)
		f.Add(e.b)
		b.Write(e.b)
	}
	for typ, fill := range map[uint16]func(*Encoder){
		unix.RTM_NEWLINK: fillLink,
		unix.RTM_NEWADDR: Address{Link: 4, Prefix: netip.MustParsePrefix("10.0.0.1/32"), Peer: netip.MustParsePrefix("10.0.1.0/24")}.encode,
		unix.RTM_DELADDR: Address{Prefix: netip.MustParsePrefix("fd00::1/64"), Flags: unix.IFA_F_NODAD}.encode,
	} {
		var e Encoder
		at := e.begin(typ, 0, 1)
		fill(&e)
		e.End(at)
		f.Add(e.b)
	}
	batch := (&Nftables{}).NewBatch(1)
	batch.Elements(unix.NFT_MSG_NEWSETELEM, 0, "t", "s", Intervals([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}))
	f.Add(batch.b)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		for m := range Messages(data) {
			r, ok := ParseRoute(m)
			if ok && (!r.Destination.IsValid() || parseRouteResult(m).Route != r) {
				t.Errorf("route %+v of %x", r, m.Body)
			}
			NextHops(m)
			ParseRule(m)
			if l := ParseLink(m); l.Table != 0 && l.Kind != KindVRF {
				t.Errorf("interface %+v of %x", l, m.Body)
			}
			if a, ok := ParseAddress(m); ok && (!a.Prefix.IsValid() || a.Peer.IsValid() && !a.Prefix.IsSingleIP()) {
				t.Errorf("address %+v of %x", a, m.Body)
			}
			EventTable(m)
			_ = errorOf(m)
			elements := appendElements(nil, nftAttributes(m))
			if intervals, err := pair(elements); err == nil && len(intervals) > len(elements) {
				t.Errorf("%d intervals of %d elements", len(intervals), len(elements))
			}
		}
	})
}

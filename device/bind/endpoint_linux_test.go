package bind

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseEndpoint(t *testing.T) {
	b := New(nil)
	for _, tc := range []struct{ in, want string }{
		{"192.0.2.1:51820", "192.0.2.1:51820"},
		{"[2001:db8::1]:1", "[2001:db8::1]:1"},
		{"[::ffff:192.0.2.1]:1", "192.0.2.1:1"},
		{"[fe80::1%lo]:1", "[fe80::1%lo]:1"},
		{"[fe80::1%1]:1", "[fe80::1%1]:1"},
	} {
		ep, err := b.ParseEndpoint(tc.in)
		if err != nil {
			t.Fatal(err)
		}
		if ep.DstToString() != tc.want || ep.DstIP() != netip.MustParseAddrPort(tc.want).Addr() || len(ep.DstToBytes()) == 0 {
			t.Errorf("%s: %s", tc.in, ep.DstToString())
		}
		if e := ep.(*endpoint); ep.SrcIP().IsValid() || strings.Contains(tc.in, "%") != (e.name[24] == 1) && binary.NativeEndian.Uint16(e.name[:]) == unix.AF_INET6 {
			t.Errorf("%s: source %s, name %x", tc.in, ep.SrcToString(), e.name)
		}
	}
	for _, in := range []string{"", "nonsense", "192.0.2.1", "example.org:1", "[fe80::1%nosuchlink]:1"} {
		if _, err := b.ParseEndpoint(in); err == nil || !strings.Contains(err.Error(), in) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func testPath(last byte) path {
	return path{dst: [16]byte{192, 0, 2, last}, src: [16]byte{127, 0, 0, 1}, ifindex: 1, port: 9}
}

func TestCache(t *testing.T) {
	c := newCache()
	one, two := c.endpoint(testPath(1)), c.endpoint(testPath(2))
	if one == two || c.endpoint(testPath(1)) != one || c.endpoint(testPath(1)) != one || c.endpoint(testPath(2)) != two {
		t.Error("not one endpoint per path")
	}
	if one.DstToString() != "192.0.2.1:9" || one.SrcToString() != "127.0.0.1" {
		t.Errorf("endpoint %s from %s", one.DstToString(), one.SrcToString())
	}
	one.ClearSrc()
	if one.SrcIP().IsValid() {
		t.Error("a cleared source is returned")
	}
	if again := c.endpoint(testPath(1)); again == one || !again.SrcIP().IsValid() {
		t.Error("a packet does not bring back the source")
	}
	two.ClearSrc()
	c.endpoint(testPath(2)).ClearSrc()
	if !c.endpoint(testPath(2)).SrcIP().IsValid() {
		t.Error("the last endpoint is kept without its source")
	}
	for i := range 3 * maxCached {
		p := testPath(1)
		p.port = uint16(i)
		c.endpoint(p)
	}
	if len(c.all) > maxCached {
		t.Errorf("%d endpoints are kept", len(c.all))
	}
}

// The endpoint of a path has the socket address that the kernel reported, and a zone
// if the address has a scope.
func TestPathOf(t *testing.T) {
	for _, to := range []string{"192.0.2.1:51820", "[2001:db8::1]:51820", "[fe80::1%lo]:51820"} {
		want, err := New(nil).ParseEndpoint(to)
		if err != nil {
			t.Fatal(err)
		}
		e := want.(*endpoint)
		c := newCache()
		got := c.endpoint(pathOf(&e.name, control{}))
		if got.DstToString() != to || got.name != e.name || got.nameLen != e.nameLen || got.SrcIP().IsValid() {
			t.Errorf("%s: %s from %s, name %x", to, got.DstToString(), got.SrcToString(), got.name)
		}
	}
	if got := zoneOf(1 << 30); got != "1073741824" {
		t.Errorf("zone of a link that is gone: %s", got)
	}
}

// A source is looked up at its first use and after a change of routes.
func TestSourceIsChecked(t *testing.T) {
	b := New(nil)
	open(t, b)
	e := sourced(9)
	for range 2 {
		for range 2 { // the second use takes the result of the first
			if !b.useSource(e) || !e.SrcIP().IsValid() {
				t.Error("a source that fits is not used")
			}
		}
		b.generation.Add(1)
	}
	if b.routes.leavesBy(1001, e.src, e.DstIP(), 0) {
		t.Error("packets to loopback leave by another interface")
	}
	if b.routes.leavesBy(1, netip.MustParseAddr("192.0.2.77"), e.DstIP(), 0) {
		t.Error("packets leave from an address the host does not have")
	}
	mismatched := newEndpoint(local4(9), 0)
	mismatched.setSource(netip.MustParseAddr("127.0.0.1"), 1001)
	for range 2 {
		if b.useSource(mismatched) || mismatched.SrcIP().IsValid() {
			t.Error("a source on another interface is used")
		}
	}
	mismatched.ifindex = 1 // as if routes had changed
	if b.useSource(mismatched) {
		t.Error("a source was looked up without a change of routes")
	}
	b.generation.Add(1)
	if !b.useSource(mismatched) || !mismatched.SrcIP().IsValid() {
		t.Error("a source that fits again is not used")
	}
	if b.useSource(newEndpoint(local4(9), 0)) {
		t.Error("an endpoint without a source uses one")
	}
}

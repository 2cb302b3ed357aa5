package forward

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestProxyHeaderBytes(t *testing.T) {
	const signature = "0d0a0d0a000d0a515549540a"
	for _, tt := range []struct{ from, to, want string }{
		{"10.0.0.1:1000", "10.0.0.2:80", "2111 000c 0a000001 0a000002 03e8 0050"},
		{"[fd00::1]:1000", "[fd00::2]:80", "2121 0024 fd000000000000000000000000000001 fd000000000000000000000000000002 03e8 0050"},
		{"[::ffff:10.0.0.1]:1000", "[::ffff:10.0.0.2]:80", "2111 000c 0a000001 0a000002 03e8 0050"},
		{"10.0.0.1:1000", "[fd00::2]:80", "2121 0024 00000000000000000000ffff0a000001 fd000000000000000000000000000002 03e8 0050"},
		{"[fe80::1%eth0]:1", "[fe80::2%eth0]:2", "2121 0024 fe800000000000000000000000000001 fe800000000000000000000000000002 0001 0002"},
		{"", "10.0.0.2:80", "2000 0000"},
		{"10.0.0.1:80", "", "2000 0000"},
	} {
		from, _ := netip.ParseAddrPort(tt.from)
		to, _ := netip.ParseAddrPort(tt.to)
		if got, want := hex.EncodeToString(proxyHeader(from, to)), signature+strings.ReplaceAll(tt.want, " ", ""); got != want {
			t.Errorf("%s → %s:\n got %s\nwant %s", tt.from, tt.to, got, want)
		}
	}
}

// parseProxyHeader is what a target does.
func parseProxyHeader(b []byte) (from, to netip.AddrPort, err error) {
	rest, ok := bytes.CutPrefix(b, []byte(proxySignature))
	if !ok || len(rest) < 4 || len(rest) != 4+int(binary.BigEndian.Uint16(rest[2:])) {
		return from, to, errors.New("not a header")
	}
	kind, rest := [2]byte(rest), rest[4:]
	size := map[[2]byte]int{{0x20, 0}: 0, {0x21, 0x11}: 4, {0x21, 0x21}: 16}[kind]
	switch {
	case size == 0 && kind[0] == 0x20 && len(rest) == 0:
		return from, to, nil
	case size == 0 || len(rest) != 2*size+4:
		return from, to, errors.New("wrong length")
	}
	source, _ := netip.AddrFromSlice(rest[:size])
	destination, _ := netip.AddrFromSlice(rest[size : 2*size])
	ports := rest[2*size:]
	return netip.AddrPortFrom(source, binary.BigEndian.Uint16(ports)), netip.AddrPortFrom(destination, binary.BigEndian.Uint16(ports[2:])), nil
}

// FuzzProxyHeader: a target reads the addresses that were written.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}, uint16(1), uint16(2))
	f.Add(addrA.AsSlice(), addrB.AsSlice(), uint16(1), uint16(2))
	f.Add(addrA.AsSlice(), []byte{10, 0, 0, 2}, uint16(1), uint16(2))
	f.Add([]byte{}, []byte{}, uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, source, destination []byte, sourcePort, destinationPort uint16) {
		a, okA := netip.AddrFromSlice(source)
		b, okB := netip.AddrFromSlice(destination)
		from, to, err := parseProxyHeader(proxyHeader(netip.AddrPortFrom(a, sourcePort), netip.AddrPortFrom(b, destinationPort)))
		if err != nil {
			t.Fatal(err)
		}
		if !okA || !okB {
			if from.IsValid() || to.IsValid() {
				t.Errorf("%v and %v from nothing", from, to)
			}
			return
		}
		if from.Addr().Unmap() != a.Unmap() || to.Addr().Unmap() != b.Unmap() || from.Port() != sourcePort || to.Port() != destinationPort {
			t.Errorf("wrote %v and %v, read %v and %v", a, b, from, to)
		}
	})
}

package portmap

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

var (
	gateway = mesh.Gateway{Address: netip.MustParseAddr("192.168.1.1"), Source: netip.MustParseAddr("192.168.1.2"), Link: 2}
	outside = netip.MustParseAddr("11.90.0.7")
	wg      = mesh.Port{Use: mesh.PortWireGuard, Number: 51820}
	disco   = mesh.Port{Use: mesh.PortDiscovery, TCP: true, Number: 443}
	nonce   = Nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
)

// Requests are as the RFCs have them.
func TestRequests(t *testing.T) {
	for want, got := range map[string][]byte{
		"00010000" + "ca6c" + "ca6d" + "00001c20":                    pmpMapRequest(wg, 51821, askedLifetime),
		"00020000" + "01bb" + "0000" + "00000000":                    pmpMapRequest(disco, 0, 0),
		"02000000" + "00000000" + "00000000000000000000ffffc0a80102": pcpRequest(pcpAnnounce, 0, gateway.Source),
		"02010000" + "00001c20" + "00000000000000000000ffffc0a80102" + "0102030405060708090a0b0c" + "11000000" + "ca6c" + "ca6d" +
			"00000000000000000000ffff0b5a0007": pcpMapRequest(gateway.Source, nonce, wg, netip.AddrPortFrom(outside, 51821), askedLifetime),
		"02010000" + "00000000" + "00000000000000000000ffffc0a80102" + "0102030405060708090a0b0c" + "06000000" + "01bb" + "0000" +
			"00000000000000000000ffff00000000": pcpMapRequest(gateway.Source, nonce, disco, netip.AddrPort{}, 0),
	} {
		if hex.EncodeToString(got) != want {
			t.Errorf("%x, want %s", got, want)
		}
	}
}

func TestParsePMP(t *testing.T) {
	for text, want := range map[string]*pmpAnswer{
		"0080000000000005" + "0b5a0007":         {operation: pmpAddress, epoch: 5, external: outside},
		"0081000000000005" + "ca6cca6d00001c20": {operation: pmpMapUDP, epoch: 5, internal: 51820, mapped: 51821, lifetime: askedLifetime},
		"0082000200000005" + "01bb000000000000": {operation: pmpMapTCP, epoch: 5, result: 2},
		"0083000500000005":                      {operation: 3, epoch: 5, result: 5},
		"0080000000000005" + "0b5a00":           nil, // too short
		"0081000000000005" + "ca6cca6d":         nil,
		"0001000000000005" + "ca6cca6d00001c20": nil, // a request
		"0281000000000005" + "ca6cca6d00001c20": nil, // of PCP
		"0085000000000005" + "ca6cca6d00001c20": nil, // an operation that there is not
		"00800000000000":                        nil,
		"":                                      nil,
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := parsePMP(b)
		if ok != (want != nil) || ok && got != *want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, ok, want)
		}
	}
}

// pcpMapped is a response of PCP that maps port 51820.
const pcpMapped = "02810000" + "00001c20" + "00000005" + "000000000000000000000000" + "0102030405060708090a0b0c" + "11000000" + "ca6c" + "ca6d" +
	"00000000000000000000ffff0b5a0007"

func TestParsePCP(t *testing.T) {
	mapped := pcpAnswer{operation: pcpMap, epoch: 5, lifetime: askedLifetime, nonce: nonce, protocol: 17, internal: 51820, external: netip.AddrPortFrom(outside, 51821)}
	refused := mapped
	refused.result = 2
	for text, want := range map[string]*pcpAnswer{
		pcpMapped: &mapped,
		strings.Replace(pcpMapped, "02810000", "02810002", 1):             &refused,
		pcpMapped + "00000000":                                            &mapped, // with an option
		"02800000" + "00000000" + "00000005" + "000000000000000000000000": {operation: pcpAnnounce, epoch: 5},
		pcpMapped[:len(pcpMapped)-8]:                                      nil,
		pcpMapped + "00":                                                  nil, // no multiple of four
		pcpMapped + strings.Repeat("00000000", 300):                       nil, // too long
		strings.Replace(pcpMapped, "0281", "0201", 1):                     nil, // a request
		strings.Replace(pcpMapped, "0281", "0181", 1):                     nil, // another version
		"02820000" + "00000000" + "00000005" + "000000000000000000000000": nil, // PEER
		"": nil,
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := parsePCP(b)
		if ok != (want != nil) || ok && got != *want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, ok, want)
		}
	}
}

func FuzzPMP(f *testing.F) {
	f.Add([]byte{0, 128, 0, 0, 0, 0, 0, 5, 11, 90, 0, 7})
	f.Add([]byte{0, 129, 0, 0, 0, 0, 0, 5, 0xca, 0x6c, 0xca, 0x6d, 0, 0, 0x1c, 0x20})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := parsePMP(b)
		if ok && a.result == 0 && a.operation > pmpMapTCP {
			t.Errorf("%x is taken for an answer: %+v", b, a)
		}
		if ok && a.lifetime < 0 {
			t.Errorf("%x: lifetime %v", b, a.lifetime)
		}
	})
}

func FuzzPCP(f *testing.F) {
	for _, text := range []string{pcpMapped, pcpMapped[:48]} {
		b, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := parsePCP(b)
		if !ok || a.operation != pcpMap {
			return
		}
		// What was read is what a request with the same fields has.
		p := mesh.Port{TCP: a.protocol == 6, Number: a.internal}
		again := pcpMapRequest(gateway.Source, a.nonce, p, a.external, a.lifetime)
		if pcpProtocol(p) == a.protocol && !bytes.Equal(again[pcpHeader:pcpHeader+13], b[pcpHeader:pcpHeader+13]) ||
			!bytes.Equal(again[pcpHeader+16:], b[pcpHeader+16:pcpHeader+pcpMapSize]) {
			t.Errorf("%x was read as %+v", b, a)
		}
	})
}

func TestEpoch(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		after   time.Duration
		seconds uint32
		lost    bool
	}{
		"as expected":         {time.Minute, 1060, false},
		"a slow clock":        {time.Minute, 1051, false},
		"a clock that stands": {2 * time.Second, 1000, false},
		"a restart":           {time.Minute, 3, true},
		"just restarted":      {time.Second, 0, true},
		"another gateway":     {time.Minute, 90000, true},
	} {
		e := epoch{}
		if e.restarted(at, 1000) {
			t.Errorf("%s: lost at first sight", name)
		}
		if got := e.restarted(at.Add(test.after), test.seconds); got != test.lost {
			t.Errorf("%s: lost is %v, want %v", name, got, test.lost)
		}
	}
}

func TestRefuse(t *testing.T) {
	with := func(change func(w *mesh.PortWish, g *mesh.Gateway)) (string, time.Duration) {
		w, g := mesh.PortWish{Ports: []mesh.Port{wg}}, gateway
		change(&w, &g)
		return refuse(&w, g, nil, time.Second)
	}
	for want, change := range map[string]func(w *mesh.PortWish, g *mesh.Gateway){
		"":                func(*mesh.PortWish, *mesh.Gateway) {},
		"never":           func(w *mesh.PortWish, _ *mesh.Gateway) { w.Refused = "never" },
		"no port":         func(w *mesh.PortWish, _ *mesh.Gateway) { w.Ports = nil },
		"configured":      func(w *mesh.PortWish, _ *mesh.Gateway) { w.Ports = []mesh.Port{{Refused: "configured"}} },
		"own address":     func(w *mesh.PortWish, _ *mesh.Gateway) { w.Translation = mesh.TranslationNone },
		"no private IPv4": func(_ *mesh.PortWish, g *mesh.Gateway) { g.Address = netip.MustParseAddr("11.0.0.1") },
		"waiting":         func(w *mesh.PortWish, _ *mesh.Gateway) { w.Pending = true },
		"is public":       func(_ *mesh.PortWish, g *mesh.Gateway) { g.Source = outside },
	} {
		got, again := with(change)
		if want == "" && got != "" || !strings.Contains(got, want) || (again > 0) != (want == "waiting") {
			t.Errorf("%q (for %v), want %q", got, again, want)
		}
	}
	// A NAT that STUN servers have seen is one, whatever this host's address is.
	if got, _ := with(func(w *mesh.PortWish, g *mesh.Gateway) { w.Translation, g.Source = mesh.TranslationPresent, outside }); got != "" {
		t.Errorf("with a NAT in sight: %q", got)
	}
}

func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"11.90.0.7": true, "192.168.1.1": false, "10.0.0.1": false, "172.16.0.1": false, "100.64.0.1": false, "100.128.0.1": true, "0.0.0.0": false,
		"127.0.0.1": false, "169.254.1.1": false, "192.0.2.1": false, "192.0.3.1": true, "198.51.100.1": false, "203.0.113.9": false, "240.0.0.1": false, "224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false, "::1": false, "2001:db8::1": false,
	} {
		if got := public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: public is %v", address, got)
		}
	}
}

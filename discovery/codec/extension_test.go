package codec

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/wire"
	"github.com/wirespan/wirespan/mesh"
)

var (
	nodeKey  = mesh.NewNodeKey([32]byte{1})
	otherKey = mesh.NewNodeKey([32]byte{2})
)

// signedAffiliate returns an affiliate with everything that a record adds.
func signedAffiliate() mesh.Affiliate {
	a := testAffiliate()
	a.NodeID = nodeKey.NodeID()
	a.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("[2001:db8::1]:51820")}
	a.AdditionalAddresses = append(a.AdditionalAddresses, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
	a.Record = mesh.Record{
		Sequence: 1 << 40, Instance: 7, Start: 1 << 39, Ephemeral: true,
		NextKey: mesh.Key{0: 1, 31: 2}, Prepared: []mesh.KeyTag{{1}, {7: 3}},
	}
	return a
}

func seal(t *testing.T, a mesh.Affiliate) []byte {
	t.Helper()
	blob, cut, err := SealAffiliate(test, nodeKey, a, testNonce)
	if err != nil || cut != "" {
		t.Fatalf("cut %q, error %v", cut, err)
	}
	return blob
}

func TestSignedRoundTrip(t *testing.T) {
	left := mesh.Affiliate{NodeID: nodeKey.NodeID(), MachineType: mesh.MachineUnknown, Record: mesh.Record{Sequence: 3, Start: 2, Left: true}}
	for _, want := range []mesh.Affiliate{signedAffiliate(), left} {
		got, dropped, err := OpenAffiliate(test, seal(t, want), discovery.Known{})
		if err != nil || dropped != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, dropped %q, error %v\nwant %+v", got, dropped, err, want)
		}
	}
}

// Talos sees neither exit routes nor signed endpoints.
func TestTalosSeesNoExitRoute(t *testing.T) {
	a := signedAffiliate()
	plain := encodeSigned("c", nodeKey, a)
	unsigned := a
	unsigned.Record, unsigned.AdditionalAddresses = mesh.Record{}, a.AdditionalAddresses[:2]
	if before := encodeSigned("c", nodeKey, unsigned); !strings.HasPrefix(string(plain), string(before)) {
		t.Error("the message before the extension differs from one without")
	}
}

func TestForgedExtensions(t *testing.T) {
	a := signedAffiliate()
	good := encodeSigned("c", nodeKey, a)
	unsigned := a
	unsigned.Record = mesh.Record{}
	bare := encodeAffiliate(unsigned)
	extensionOnly := good[len(signedPrefix(t, good)):]
	foreign := a
	foreign.NodeID = otherKey.NodeID()
	field := func(number wire.Number, value string) []byte {
		return wire.AppendBytes(nil, number, value)
	}
	flipped := func(i int) []byte {
		b := append([]byte{}, good...)
		b[i] ^= 1
		return b
	}
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for name, plain := range map[string][]byte{
		"a field after it":           join(good, field(3, "evil")),
		"an unknown field after it":  join(good, field(900, "x")),
		"the extension twice":        join(bare, extensionOnly, extensionOnly),
		"the extension first":        join(extensionOnly, bare),
		"a changed nodename":         join(bare, field(4, "other"), extensionOnly),
		"fields put before it":       join(field(4, "other"), good),
		"one bit of a field":         flipped(3),
		"one bit of the sequence":    flipped(len(bare) + 6),
		"one bit of the signature":   flipped(len(good) - 1),
		"another cluster's record":   encodeSigned("d", nodeKey, a),
		"another node's key":         encodeSigned("c", otherKey, a),
		"another node's extension":   join(bare, encodeSigned("c", otherKey, foreign)[len(signedPrefix(t, encodeSigned("c", otherKey, foreign))):]),
		"no signature":               join(bare, field(extensionField, "")),
		"a number for the extension": join(bare, wire.AppendUint(nil, extensionField, 1)),
		"sequence zero":              appendSigned(append([]byte{}, bare...), "c", nodeKey, extension{}),
		"start after the sequence":   appendSigned(append([]byte{}, bare...), "c", nodeKey, extension{record: mesh.Record{Sequence: 1, Start: 2}}),
	} {
		got, _, err := OpenAffiliate(test, newGCM(testKey).Seal(testNonce[:], testNonce[:], plain, nil), discovery.Known{})
		if err == nil {
			t.Errorf("%s: opened as %+v", name, got)
		}
	}
}

// signedPrefix returns what comes before the extension.
func signedPrefix(t *testing.T, plain []byte) []byte {
	t.Helper()
	body, found, err := splitExtension(plain)
	if !found || err != nil {
		t.Fatal("no extension")
	}
	tag := len(wire.AppendLength(nil, extensionField, len(body)))
	return plain[:len(plain)-len(body)-tag]
}

func TestOlderRecords(t *testing.T) {
	a := signedAffiliate()
	blob := seal(t, a)
	unsigned := a
	unsigned.Record = mesh.Record{}
	for name, tc := range map[string]struct {
		blob []byte
		seq  uint64
		want error
	}{
		"the same":       {blob, a.Record.Sequence, nil},
		"newer":          {blob, a.Record.Sequence - 1, nil},
		"older":          {blob, a.Record.Sequence + 1, ErrOlder},
		"unsigned again": {seal(t, unsigned), 1, ErrOlder},
	} {
		if _, _, err := OpenAffiliate(test, tc.blob, discovery.Known{Sequence: tc.seq}); !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// What does not fit is left out from the end, and said.
func TestSealShortens(t *testing.T) {
	a := signedAffiliate()
	for len(a.AdditionalAddresses) < 76 {
		a.AdditionalAddresses = append(a.AdditionalAddresses, netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, byte(len(a.AdditionalAddresses)), 15: 1}), 64))
	}
	var cuts []string
	for {
		blob, cut, err := SealAffiliate(test, nodeKey, a, testNonce)
		if err != nil {
			if !strings.Contains(err.Error(), "the limit is 2048") {
				t.Error(err)
			}
			break
		}
		got, _, err := OpenAffiliate(test, blob, discovery.Known{})
		if err != nil || !reflect.DeepEqual(shown(got.AdditionalAddresses), shown(a.AdditionalAddresses)) {
			t.Fatalf("cut %q: networks are missing, error %v", cut, err)
		}
		if cut != "" && (len(cuts) == 0 || cuts[len(cuts)-1] != cut) {
			cuts = append(cuts, cut)
		}
		a.Hostname += "x"
		if len(a.Hostname) > maxTextLength {
			a.Hostname = "x"
			a.AdditionalAddresses = append(a.AdditionalAddresses, netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, byte(len(a.AdditionalAddresses)), 15: 1}), 64))
		}
	}
	want := []string{"signed endpoints", "signed endpoints, operating system", "signed endpoints, operating system, hostname", "hostname, keys that others change to"}
	for _, w := range want {
		if !strings.Contains(strings.Join(cuts, "|"), w) {
			t.Errorf("never cut: %q (%q)", w, cuts)
		}
	}
}

func shown(networks []netip.Prefix) int { return len(networks) }

// FuzzExtension feeds extensions with a right signature, and raw plaintext.
func FuzzExtension(f *testing.F) {
	a := signedAffiliate()
	x := extension{record: a.Record, endpoints: a.Endpoints, networks: a.AdditionalAddresses}
	f.Add(x.encode())
	f.Fuzz(func(t *testing.T, body []byte) {
		var c cleaner
		var got extension
		if err := got.decode(&c, append(append([]byte{}, body...), make([]byte, signatureSize)...)); err == nil {
			t.Fatal("an extension without a signature field was decoded")
		}
		end := append([]byte{byte(signatureField)<<3 | 2, mesh.SignatureSize}, make([]byte, mesh.SignatureSize)...)
		if err := got.decode(&c, append(append([]byte{}, body...), end...)); err != nil {
			return
		}
		for _, ep := range got.endpoints {
			if checkEndpoint(ep) != nil {
				t.Fatalf("endpoint %v", ep)
			}
		}
		for _, p := range got.networks {
			if !p.IsValid() || p.Addr().Is4In6() {
				t.Fatalf("network %v", p)
			}
		}
		var again extension
		if err := again.decode(&c, append(got.encode(), end...)); err != nil || !reflect.DeepEqual(got, again) {
			t.Fatalf("%+v changed to %+v, error %v", got, again, err)
		}
	})
}

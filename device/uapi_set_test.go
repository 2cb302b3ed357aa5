package device_test

import (
	"net/netip"
	"testing"

	"github.com/wirespan/wirespan/mesh"
)

func TestApplyLeavesUnchangedPeersAlone(t *testing.T) {
	a, b := pair(t)
	mustPing(t, a, b.addr)
	before, _ := a.stats(t, b.key.Public())
	other := mesh.PeerConfig{
		PublicKey: newKey().Public(), AllowedIPs: []netip.Prefix{host(ula(3))},
		Endpoint: netip.MustParseAddrPort("127.0.0.1:9"),
	}
	kept := b.peer()
	for _, peers := range [][]mesh.PeerConfig{
		{kept, other}, {other, kept}, {kept, other}, {kept},
	} {
		a.apply(t, peers...)
	}
	kept.Endpoint = netip.AddrPort{}
	a.apply(t, kept)
	after, ok := a.stats(t, b.key.Public())
	if !ok || !after.LastHandshakeTime.Equal(before.LastHandshakeTime) || after.TransmitBytes < before.TransmitBytes {
		t.Errorf("stats before %+v, after %+v", before, after)
	}
	if after.Endpoint != b.endpoint() {
		t.Errorf("a zero endpoint changed the device's to %v", after.Endpoint)
	}
	mustPing(t, a, b.addr)
	mustPing(t, a, b.addr) // upstream counts the first ping a moment after it was sent
	pinged, _ := a.stats(t, b.key.Public())
	if !pinged.LastHandshakeTime.Equal(before.LastHandshakeTime) {
		t.Error("the ping needed another handshake: the session was lost")
	}
	if pinged.TransmitBytes <= after.TransmitBytes || pinged.ReceiveBytes <= after.ReceiveBytes {
		t.Errorf("counters did not grow: %+v, then %+v", after, pinged)
	}
}

func TestApplyChanges(t *testing.T) {
	a := newNode(t, 1)
	p1, p2 := newKey().Public(), newKey().Public()
	x, y := host(ula(8)), netip.MustParsePrefix("10.1.0.0/16")
	ep := netip.MustParseAddrPort
	steps := []struct {
		name  string
		peers []mesh.PeerConfig
		want  map[mesh.Key]peer
	}{
		{"add", []mesh.PeerConfig{
			{PublicKey: p1, AllowedIPs: []netip.Prefix{x, y}, Endpoint: ep("127.0.0.1:9"), PersistentKeepalive: mesh.PersistentKeepalive},
			{PublicKey: p2},
		}, map[mesh.Key]peer{
			p1: {"127.0.0.1:9", "0", zeroHex, "10.1.0.0/16 fd00:0:0:2::8/128"}, p2: {"", "0", zeroHex, ""},
		}},
		{"move prefix, unmap endpoint, drop keepalive", []mesh.PeerConfig{
			{PublicKey: p1, AllowedIPs: []netip.Prefix{x}, Endpoint: ep("[::ffff:127.0.0.1]:10")},
			{PublicKey: p2, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/16")}},
		}, map[mesh.Key]peer{
			p1: {"127.0.0.1:10", "0", zeroHex, "fd00:0:0:2::8/128"}, p2: {"", "0", zeroHex, "10.1.0.0/16"},
		}},
		{"swap prefixes, keep endpoint", []mesh.PeerConfig{
			{PublicKey: p1, AllowedIPs: []netip.Prefix{y, y}},
			{PublicKey: p2, AllowedIPs: []netip.Prefix{x}},
		}, map[mesh.Key]peer{
			p1: {"127.0.0.1:10", "0", zeroHex, "10.1.0.0/16"}, p2: {"", "0", zeroHex, "fd00:0:0:2::8/128"},
		}},
		{"move a prefix from a peer that goes", []mesh.PeerConfig{
			{PublicKey: p2, AllowedIPs: []netip.Prefix{x, y}, PresharedKey: oneSecret},
		}, map[mesh.Key]peer{p2: {"", "0", oneHex, "10.1.0.0/16 fd00:0:0:2::8/128"}}},
		{"drop preshared key", []mesh.PeerConfig{
			{PublicKey: p2, AllowedIPs: []netip.Prefix{x, y}},
		}, map[mesh.Key]peer{p2: {"", "0", zeroHex, "10.1.0.0/16 fd00:0:0:2::8/128"}}},
		{"nothing", nil, map[mesh.Key]peer{}},
	}
	for _, s := range steps {
		a.apply(t, s.peers...)
		if got := dump(t, a.Device); !equal(got, s.want) {
			t.Errorf("%s: device has %+v, want %+v", s.name, got, s.want)
		}
	}
}

func TestApplyUndoesInterference(t *testing.T) {
	a := newNode(t, 1)
	p := mesh.PeerConfig{
		PublicKey: newKey().Public(), AllowedIPs: []netip.Prefix{host(ula(8))},
		PresharedKey: oneSecret, Endpoint: netip.MustParseAddrPort("127.0.0.1:9"),
	}
	a.apply(t, p)
	want := dump(t, a.Device)
	key := string(hexOf(p.PublicKey[:]))
	for _, set := range []string{
		"public_key=" + key + "\nremove=true\n",
		"public_key=" + key + "\nallowed_ip=10.0.0.0/8\nallowed_ip=-fd00:0:0:2::8/128\n",
		"public_key=" + key + "\npreshared_key=" + zeroHex + "\nendpoint=127.0.0.1:77\npersistent_keepalive_interval=7\n",
		"public_key=" + oneHex + "\nallowed_ip=fd00:0:0:2::8/128\n",
		"replace_peers=true\n",
	} {
		uapi(t, a.Device, "set=1\n"+set+"\n")
		if equal(dump(t, a.Device), want) {
			t.Errorf("%q changed nothing", set)
		}
		a.apply(t, p)
		if got := dump(t, a.Device); !equal(got, want) {
			t.Errorf("after %q: device has %+v, want %+v", set, got, want)
		}
	}
}

func TestApplyRefusesDuplicates(t *testing.T) {
	a := newNode(t, 1)
	p := mesh.PeerConfig{PublicKey: newKey().Public()}
	if err := a.Apply([]mesh.PeerConfig{p, p}); err == nil {
		t.Error("a duplicate peer was applied")
	}
}

// Handshakes complete only if both sides have the same preshared key.
func TestPresharedKeyChange(t *testing.T) {
	a, b := pair(t)
	mustPing(t, a, b.addr)
	toA, toB := a.peer(), b.peer()
	toA.PresharedKey, toB.PresharedKey = oneSecret, oneSecret
	toA.Endpoint = netip.AddrPort{} // crossed initiations would cost 5 s
	a.apply(t, toB)
	b.apply(t, toA)
	// New sessions on both sides, so that the new key is used.
	b.apply(t)
	a.apply(t)
	b.apply(t, toA)
	a.apply(t, toB)
	mustPing(t, a, b.addr)
}

func TestApplyAfterClose(t *testing.T) {
	a := newNode(t, 1)
	_ = a.Close()
	<-a.Done()
	if err := a.Apply(nil); err == nil {
		t.Error("a closed device took peers")
	}
}

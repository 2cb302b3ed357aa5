package mesh

import (
	"net/netip"
	"strings"
	"testing"
)

func testIdentity() Identity {
	priv := NewPrivateKey([32]byte{1, 2, 3, 31: 99})
	return Identity{PrivateKey: priv, PublicKey: priv.Public()}
}

func TestKubeSpanIdentityFile(t *testing.T) {
	id := testIdentity()
	want := "address: \"\"\nsubnet: \"\"\nprivateKey: " + id.PrivateKey.RevealBase64() + "\npublicKey: " + id.PublicKey.String() + "\n"
	if got := string(EncodeKubeSpanIdentity(id)); got != want {
		t.Errorf("encoded:\n%s\nwant:\n%s", got, want)
	}
	if got, err := ParseKubeSpanIdentity([]byte(want)); err != nil || got != id {
		t.Errorf("parsed = %v, %v; want %v", got, err, id)
	}
	id.Subnet = ULA(talosClusterID)
	id.Address = netip.MustParseAddr("fd7f:175a:b97c:5602:2c1a:b6ff:fe53:8169")
	if got, err := ParseKubeSpanIdentity(EncodeKubeSpanIdentity(id)); err != nil || got != id {
		t.Errorf("parsed = %v, %v; want %v", got, err, id)
	}
}

func TestParseKubeSpanIdentityRefuses(t *testing.T) {
	id := testIdentity()
	priv, pub := id.PrivateKey.RevealBase64(), id.PublicKey.String()
	keys := "privateKey: " + priv + "\npublicKey: " + pub + "\n"
	const zero = `value of "kubespan-identity.yaml" is still zero after unmarshaling`
	const bad = `error unmarshaling "kubespan-identity.yaml": `
	for _, c := range []struct{ name, data, want string }{
		{"empty", "", zero},
		{"comment", "# nothing\n", zero},
		{"null", "null\n", zero},
		{"no keys", "{}\n", zero},
		{"all empty", "address: \"\"\nsubnet:\nprivateKey: \"\"\npublicKey: \"\"\n", zero},
		{"zero bytes", strings.Repeat("\x00", 100), bad + "not YAML"},
		{"truncated", keys[:30], bad + "privateKey: "},
		{"bare key", priv, bad + "line 1: not a mapping"},
		{"list", "- " + priv, bad + "line 1: not a mapping"},
		{"unknown key", keys + priv + ": x\n", bad + "line 3: unknown key"},
		{"twice", keys + "privateKey: " + priv + "\n", bad + "line 3: duplicate key privateKey"},
		{"nested", "privateKey: [" + priv + "]\n", bad + "line 1: privateKey: not a string"},
		{"two documents", keys + "---\n" + keys, bad + "more than one document"},
		{"trailing garbage", keys + "---\n\t" + priv, bad + "not YAML"},
		{"short private key", strings.Replace(keys, priv, "AAAA", 1), bad + "privateKey: expected 32 bytes, got 3"},
		{"private key not base64", strings.Replace(keys, priv, priv[:43]+"!", 1), bad + "privateKey: not standard base64"},
		{"zero private key", strings.Replace(keys, priv, Secret{}.RevealBase64(), 1), bad + "privateKey: all zero"},
		{"no public key", "privateKey: " + priv + "\n", bad + "publicKey: expected 32 bytes, got 0"},
		{"another public key", strings.Replace(keys, pub, testKey("other").String(), 1), bad + "publicKey: not the public key of privateKey"},
		{"keys swapped", "privateKey: " + pub + "\npublicKey: " + priv + "\n", bad + "publicKey: not the public key"},
		{"bad address", keys + "address: " + priv + "\n", bad + "address: not a CIDR"},
		{"bad subnet", keys + "subnet: fd00::1\n", bad + "subnet: not a CIDR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseKubeSpanIdentity([]byte(c.data))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Fatalf("error = %v, want %s…", err, c.want)
			}
			if strings.Contains(err.Error(), priv[:8]) {
				t.Errorf("error shows the private key: %v", err)
			}
		})
	}
}

func TestNodeIdentityFile(t *testing.T) {
	const nodeID = "sou7yy34ykX3n373Zw1DXKb8zD7UnyKT6HT3QDsGH6L"
	data := EncodeNodeIdentity(nodeID)
	if want := "nodeId: " + nodeID + "\n"; string(data) != want {
		t.Errorf("encoded = %q, want %q", data, want)
	}
	if got, err := ParseNodeIdentity(data); err != nil || got != nodeID {
		t.Errorf("parsed = %q, %v", got, err)
	}
	for data, want := range map[string]string{
		"":                                 `value of "node-identity.yaml" is still zero after unmarshaling`,
		"nodeId: \"\"\n":                   `value of "node-identity.yaml" is still zero after unmarshaling`,
		"nodeId: " + nodeID[:40] + "\n":    `error unmarshaling "node-identity.yaml": node id`,
		"nodeid: " + nodeID + "\n":         `error unmarshaling "node-identity.yaml": line 1: unknown key`,
		"nodeId: " + nodeID + "\nx: y":     `error unmarshaling "node-identity.yaml": line 2: unknown key`,
		"nodeId: " + nodeID + "\n%garbage": `error unmarshaling "node-identity.yaml": `,
	} {
		if got, err := ParseNodeIdentity([]byte(data)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %s…", data, got, err, want)
		}
	}
}

// A node id of digits only, or one that YAML 1.1 would take for a number, must
// come back as it was.
func TestNodeIdentityStaysText(t *testing.T) {
	id := NodeIDFromBytes([32]byte{31: 0})
	for _, id := range []string{id, strings.Repeat("f", 51) + "B"} {
		if got, err := ParseNodeIdentity(EncodeNodeIdentity(id)); err != nil || got != id {
			t.Errorf("%q comes back as %q, %v", id, got, err)
		}
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add(EncodeKubeSpanIdentity(testIdentity()))
	f.Add(EncodeNodeIdentity("sou7yy34ykX3n373Zw1DXKb8zD7UnyKT6HT3QDsGH6L"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? [x]\n: y\n"))
	f.Add([]byte("--- !!binary x\n...\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if id, err := ParseKubeSpanIdentity(data); err == nil {
			if again, err := ParseKubeSpanIdentity(EncodeKubeSpanIdentity(id)); err != nil || again.PrivateKey != id.PrivateKey || again.PublicKey != id.PublicKey {
				t.Errorf("%q is read, but its encoding isn't: %v", data, err)
			}
		}
		if id, err := ParseNodeIdentity(data); err == nil {
			if again, err := ParseNodeIdentity(EncodeNodeIdentity(id)); err != nil || again != id {
				t.Errorf("%q is read as %q, but its encoding as %q, %v", data, id, again, err)
			}
		}
	})
}

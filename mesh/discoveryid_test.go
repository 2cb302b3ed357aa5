package mesh

import (
	"encoding/base64"
	"testing"
)

func TestDiscoveryID(t *testing.T) {
	secret := NewSecret([32]byte{1, 2, 3})
	id := DiscoveryID("cluster", secret)
	// python3 -c 'import hmac,base64;h=lambda k,m:hmac.new(k,m,"sha256").digest();
	// print(base64.b64encode(h(h(bytes(32),bytes([1,2,3])+bytes(29)),b"wirespan discovery id\0cluster\1")).decode())'
	if want := "ueVIeTNYiW5HIWJRq90MjRh10ngghp5ZJKAd7h18Xec="; id != want {
		t.Errorf("id %s, want %s", id, want)
	}
	if b, err := base64.StdEncoding.DecodeString(id); err != nil || len(b) != 32 {
		t.Errorf("%q is not base64 of 32 bytes", id)
	}
	for name, other := range map[string]string{
		"another cluster": DiscoveryID("cluster2", secret),
		"another secret":  DiscoveryID("cluster", NewSecret([32]byte{1, 2, 4})),
	} {
		if other == id {
			t.Errorf("%s has the same id", name)
		}
	}
}

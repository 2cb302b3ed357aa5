package device

import (
	"bytes"
	"testing"
)

// wg(8) can't read the text of an endpoint with a relay.
func TestShowDirect(t *testing.T) {
	const before = "public_key=aa\nendpoint=[::ffff:192.0.2.1%relay.box1]:51820\nrx_bytes=1\n" +
		"public_key=bb\nendpoint=[2001:db8::1%relay.turn:[::1]:3478]:7\npublic_key=cc\nendpoint=[fe80::1%eth0]:1\n" +
		"public_key=dd\nendpoint=192.0.2.2:2\n"
	const after = "public_key=aa\nendpoint=192.0.2.1:51820\nrx_bytes=1\n" +
		"public_key=bb\nendpoint=[2001:db8::1]:7\npublic_key=cc\nendpoint=[fe80::1%eth0]:1\n" +
		"public_key=dd\nendpoint=192.0.2.2:2\n"
	for in, want := range map[string]string{before: after, after: after, "": ""} {
		b := bytes.NewBufferString(in)
		if showDirect(b); b.String() != want {
			t.Errorf("%q is shown as %q", in, b)
		}
	}
}

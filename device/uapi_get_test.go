package device

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

const sample = "private_key=0100000000000000000000000000000000000000000000000000000000000000\n" +
	"listen_port=51820\nfwmark=32\n" +
	"public_key=0200000000000000000000000000000000000000000000000000000000000000\n" +
	"preshared_key=0300000000000000000000000000000000000000000000000000000000000000\n" +
	"protocol_version=1\nendpoint=[::ffff:192.0.2.1]:7\n" +
	"last_handshake_time_sec=1\nlast_handshake_time_nsec=2\ntx_bytes=3\nrx_bytes=4\n" +
	"persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\n" +
	"public_key=0400000000000000000000000000000000000000000000000000000000000000\n" +
	"preshared_key=0000000000000000000000000000000000000000000000000000000000000000\n" +
	"last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n" +
	"persistent_keepalive_interval=0\n"

func TestGetParser(t *testing.T) {
	for _, config := range []bool{false, true} {
		var port uint16
		var got []devicePeer
		p := getParser{query: query{port: &port, config: config, peer: func(p *devicePeer) {
			c := *p
			c.allowedIPs = append(c.allowedIPs[:0:0], p.allowedIPs...)
			got = append(got, c)
		}}}
		if _, err := p.Write([]byte(sample)); err != nil {
			t.Fatal(err)
		}
		if port != 51820 || len(got) != 2 || got[0].publicKey != (mesh.Key{2}) || got[1].publicKey != (mesh.Key{4}) {
			t.Fatalf("port %d, peers %+v", port, got)
		}
		first, second := got[0], got[1]
		if first.endpoint.String() != "192.0.2.1:7" || second.endpoint.IsValid() {
			t.Errorf("endpoints %v, %v", first.endpoint, second.endpoint)
		}
		if !config {
			if !first.handshake.Equal(time.Unix(1, 2)) || !second.handshake.IsZero() || first.transmit != 3 || first.receive != 4 {
				t.Errorf("stats %+v, %+v", first, second)
			}
			continue
		}
		if first.presharedKey != [mesh.KeySize]byte{3} || first.keepalive != 25*time.Second || len(first.allowedIPs) != 2 {
			t.Errorf("config %+v", first)
		}
		if second.presharedKey != [mesh.KeySize]byte{} || second.keepalive != 0 || len(second.allowedIPs) != 0 {
			t.Errorf("config of the second: %+v", second)
		}
		if p.current.presharedKey != [mesh.KeySize]byte{} {
			t.Error("the parser kept a preshared key")
		}
	}
}

func FuzzGetParser(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("public_key=zz\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const marker = "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec"
		var port uint16
		for _, config := range []bool{false, true} {
			p := getParser{query: query{port: &port, config: config, peer: func(*devicePeer) {}}}
			_, _ = p.Write(b)
			// A broken secret must not come back in the error.
			p = getParser{query: query{port: &port, config: config, peer: func(*devicePeer) {}}}
			_, err := p.Write(append(bytes.Clone(b), "\npreshared_key="+marker...))
			if err != nil && strings.Contains(err.Error(), marker) {
				t.Errorf("error quotes a secret: %v", err)
			}
		}
	})
}

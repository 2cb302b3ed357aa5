package device_test

import (
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/mesh"
)

// The device knows with whom it has started handshakes, and tells of packets that the host
// refuses, here for port 0. Its log names the addresses.
func TestAttempts(t *testing.T) {
	var out logBuffer
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &out})
	stack, err := netstack.New(netstack.Config{Addresses: []netip.Addr{ula(1)}, MTU: mesh.DefaultMTU})
	if err != nil {
		t.Fatal(err)
	}
	key := newKey()
	d, err := device.Open(device.Config{TUN: stack, Bind: bind.New(log), PrivateKey: key, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	closing := sync.OnceValue(d.Close)
	defer func() { _ = closing() }()
	other, nowhere := newNode(t, 2), netip.MustParseAddrPort("127.0.0.1:0")
	refused := mesh.PeerConfig{PublicKey: newKey().Public(), Endpoint: nowhere, PersistentKeepalive: mesh.PersistentKeepalive}
	other.apply(t, mesh.PeerConfig{PublicKey: key.Public()}) // answers, which is another event
	if err := d.Apply([]mesh.PeerConfig{other.peer(), refused}); err != nil {
		t.Fatal(err)
	}
	here := &node{Device: d}
	for tried := map[netip.AddrPort]mesh.Attempt{}; ; <-d.Events() {
		for _, a := range d.Attempts() {
			tried[a.Endpoint] = a
		}
		shaken, _ := here.stats(t, other.key.Public())
		if r := tried[nowhere]; !shaken.LastHandshakeTime.IsZero() && r.Refusal == mesh.RefusedByRoute && r.Error == "invalid argument" && !tried[other.endpoint()].Handshakes[mesh.AttemptsKept-1].IsZero() {
			break
		}
	}
	if err := closing(); err != nil { // after that all is logged
		t.Error(err)
	}
	for _, want := range []string{
		`sent: message="handshake initiation" to=` + other.endpoint().String(),
		`received: message="handshake response" from=` + other.endpoint().String(),
		`not sent: message="handshake initiation" to=127.0.0.1:0`,
		`Failed to send handshake initiation: to 127.0.0.1:0: `,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

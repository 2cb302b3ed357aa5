package netstack

import (
	"encoding/binary"
	"testing"
	"time"
)

func flowKey(protocol uint8, i uint32) (k key) {
	binary.BigEndian.PutUint32(k[keyRemote:], i)
	k[keyProtocol] = protocol
	return k
}

func TestFlowsLive(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name     string
		protocol uint8
		sent     []time.Duration
		received []time.Duration
		life     time.Duration // from time 0
	}{
		{"UDP", protocolUDP, []time.Duration{0}, nil, 30 * s},
		{"UDP twice", protocolUDP, []time.Duration{0, 20 * s}, nil, 50 * s},
		{"UDP again", protocolUDP, []time.Duration{0, 40 * s}, nil, 70 * s},
		{"UDP answered", protocolUDP, []time.Duration{0}, []time.Duration{10 * s}, 130 * s},
		{"UDP answered and sent again", protocolUDP, []time.Duration{0, 100 * s}, []time.Duration{10 * s}, 220 * s},
		{"UDP answered late", protocolUDP, []time.Duration{0}, []time.Duration{30 * s}, 30 * s},
		{"UDP over and begun anew", protocolUDP, []time.Duration{0, 200 * s}, []time.Duration{10 * s}, 230 * s},
		{"ICMP", protocolICMP, []time.Duration{0}, []time.Duration{10 * s}, 40 * s},
		{"ICMPv6", protocolICMPv6, []time.Duration{0}, nil, 30 * s},
		{"TCP", protocolTCP, []time.Duration{0}, nil, 10 * s},
		{"only received", protocolUDP, nil, []time.Duration{0}, 0},
	} {
		flows, k := newFlows(), flowKey(c.protocol, 1)
		for sent, received := c.sent, c.received; len(sent)+len(received) > 0; {
			if len(received) == 0 || len(sent) > 0 && sent[0] <= received[0] {
				flows.sent(&k, sent[0])
				sent = sent[1:]
			} else {
				flows.received(&k, received[0])
				received = received[1:]
			}
		}
		if c.life > 0 && !flows.known(&k, c.life-1) || flows.known(&k, c.life) {
			t.Errorf("%s is not known for %v", c.name, c.life)
		}
		other := flowKey(c.protocol, 2)
		if flows.known(&other, 0) {
			t.Errorf("%s makes others known", c.name)
		}
	}
}

// TestFlowsFlood sends to more addresses than the table holds. Answered flows stay, and
// of the others the newest.
func TestFlowsFlood(t *testing.T) {
	flows := newFlows()
	const conversations, flood = 100, 10 * maxFlows
	for i := range uint32(conversations) {
		k := flowKey(protocolUDP, i)
		flows.sent(&k, 0)
		flows.received(&k, 0)
	}
	now := time.Duration(0)
	for i := range uint32(flood) {
		now += time.Microsecond
		k := flowKey(protocolUDP, conversations+i)
		flows.sent(&k, now)
		if !flows.known(&k, now) {
			t.Fatal("a new flow is not known")
		}
	}
	count := 0
	for i := range uint32(conversations + flood) {
		if k := flowKey(protocolUDP, i); flows.known(&k, now) {
			count++
		} else if i < conversations {
			t.Error("an answered flow was forgotten for others")
		}
	}
	if count > maxFlows || count < maxFlows*9/10 {
		t.Errorf("%d flows are known, want up to %d", count, maxFlows)
	}
}

package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/mesh"
)

// maxName is the size of the longest name of a relay.
const maxName = 300

// Endpoint is a peer that is reached by a relay. There is one for each relay and peer, as long as
// there are not too many.
type Endpoint struct {
	relay   string
	peer    netip.AddrPort // as the relay sees it
	at      netip.AddrPort // as mesh.Via says
	text    string
	bytes   []byte
	without error                  // that the relay can't be used
	by      atomic.Pointer[Client] // which brought the peer's last handshake message; nil: none has
}

var _ conn.Endpoint = (*Endpoint)(nil)

// UnavailableError is why a packet was not sent: there is no address on a relay, or it does not
// relay to the peer.
type UnavailableError struct{ Name string }

func (e *UnavailableError) Error() string {
	return "relay " + e.Name + ": no address there, or the peer is not permitted yet"
}

// Relay returns the name of the relay.
func (e *UnavailableError) Relay() string { return e.Name }

func newEndpoint(at netip.AddrPort) *Endpoint {
	peer, relay := mesh.Direct(at)
	bytes, _ := at.MarshalBinary() // never fails
	return &Endpoint{relay: relay, peer: peer, at: at, text: at.String(), bytes: bytes, without: &UnavailableError{relay}}
}

// parseEndpoint returns the address of a text of mesh.Via. Of any other text, relayed is false.
func parseEndpoint(s string) (at netip.AddrPort, relayed bool, err error) {
	if !strings.Contains(s, "%") {
		return at, false, nil
	}
	at, err = netip.ParseAddrPort(s)
	if err != nil {
		return at, false, nil // another one says what is wrong with it
	}
	peer, relay := mesh.Direct(at)
	switch {
	case relay == "":
		return at, false, nil
	case len(relay) > maxName || strings.ContainsFunc(relay, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return at, true, fmt.Errorf("endpoint %.50q: the name of the relay is too long, or has control characters", s)
	case peer.Port() == 0:
		return at, true, errors.New("endpoint by a relay: it has no port")
	}
	return mesh.Via(peer, relay), true, nil
}

// Relay returns the name of the relay.
func (e *Endpoint) Relay() string { return e.relay }

// ClearSrc does nothing: the relay is the source.
func (e *Endpoint) ClearSrc() {}

// SrcToString returns nothing.
func (e *Endpoint) SrcToString() string { return "" }

// SrcIP returns no address.
func (e *Endpoint) SrcIP() netip.Addr { return netip.Addr{} }

// DstIP returns the peer's address.
func (e *Endpoint) DstIP() netip.Addr { return e.peer.Addr() }

// AddrPort returns the peer and the relay, as mesh.Via does.
func (e *Endpoint) AddrPort() netip.AddrPort { return e.at }

// DstToString returns the peer and the relay, as mesh.Via does.
func (e *Endpoint) DstToString() string { return e.text }

// DstToBytes returns the peer and the relay in the form to which cookies are bound.
func (e *Endpoint) DstToBytes() []byte { return e.bytes }

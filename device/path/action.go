package path

import (
	"net/netip"
	"time"
)

// Verb is what to do.
type Verb int

// Verbs.
const (
	// Initiate has the device start a handshake. It ignores that within 5 s of its last
	// initiation or response.
	Initiate Verb = iota
	// Restart does so at once, and ends the session.
	Restart
	// Copy sends the device's last initiation to an address.
	Copy
	// Open sends an empty datagram there, which opens a NAT and means nothing else.
	Open
	// Echo asks the peer for an echo, through the tunnel.
	Echo
	// Keepalive sends a keepalive on the path in use.
	Keepalive
	// Rest has the device no longer repeat its last initiation by itself.
	Rest
)

// Action is a verb with its address, if it has one.
type Action struct {
	Do Verb
	To netip.AddrPort
}

// Observed is what was seen of a peer's traffic.
type Observed struct {
	Heard time.Time // when anything came last; zero: never
	// Unanswered is since when data has gone out without anything back; zero: it has not.
	// Echo replies are no data: else the two sides would test each other in turns for ever.
	Unanswered time.Time
}

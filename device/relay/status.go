package relay

import (
	"fmt"
	"net/netip"
	"time"
)

// State is what a client is about.
type State int

// States.
const (
	StateIdle    State = iota // Run was not called, or has returned
	StateAsking               // asks for an address
	StateReady                // has one
	StateWaiting              // waits before it asks again
)

func (s State) String() string { return [...]string{"idle", "asking", "ready", "waiting"}[s] }

// Status is what a client knows of its allocation.
type Status struct {
	State   State
	Relayed netip.AddrPort // the address at which peers reach this node; zero unless ready
	Mapped  netip.AddrPort // the address at which the server sees this node
	RTT     time.Duration  // to the server; of the last answer
	Expires time.Time      // when the server forgets the allocation unless it is refreshed
	Retry   time.Time      // while waiting: when it is asked again
	Err     error          // why there is no address

	// Permitted is whether each of the peers of SetPeers is permitted, or refused, so that
	// the address may be announced.
	Permitted bool
	Channels  int          // bound
	Refused   []netip.Addr // peers that the server does not relay to, sorted
}

// Counters are what a client has done since it was made.
type Counters struct {
	Sent, Received           uint64 // packets
	SentBytes, ReceivedBytes uint64
	// Dropped is packets that were not sent, by reason.
	DroppedNoAddress, DroppedNoPermission, DroppedFull, DroppedTooLarge uint64
	Allocations                                                         uint64 // that were made
}

// Error is what a server answered.
type Error struct {
	Request string // what was asked
	Code    int
}

func (e *Error) Error() string {
	return fmt.Sprintf("relay: %s: error %d%s", e.Request, e.Code, advice[e.Code])
}

var advice = map[int]string{
	300: ": it names another server, which is not followed",
	400: ": it does not understand the request",
	401: ": it refuses the credentials: a member does until it has heard of this node, or if clocks differ; for relayServers check relayUser and relayPasswordFile",
	403: ": it does not relay to that address",
	437: ": it knows no such allocation, or another one",
	438: ": it takes no nonce that it gave",
	440: ": it has no address of that family",
	441: ": the allocation is another user's",
	442: ": it does not relay UDP",
	486: ": this node has as many allocations there as it may have",
	508: ": it has no address left: give it more relayPorts, or offer another relay",
}

package nodetest

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// Datagram is a UDP datagram.
type Datagram struct {
	Sent                time.Time
	Source, Destination netip.AddrPort
	Payload             []byte
}

// Message is a type of message of the WireGuard protocol.
type Message uint32

// The messages of WireGuard. Other is none of them.
const (
	Other Message = iota
	Initiation
	Response
	Cookie
	Transport
)

// sizes of messages; of Transport, the least.
var messageSizes = [...]int{Initiation: 148, Response: 92, Cookie: 64, Transport: 32}

// Message returns which message of WireGuard the datagram is, by its type and size.
func (d Datagram) Message() Message {
	if len(d.Payload) < 4 {
		return Other
	}
	m, size := Message(binary.LittleEndian.Uint32(d.Payload)), len(d.Payload)
	switch {
	case m == Transport && size >= messageSizes[m]:
		return m
	case m != Other && m < Transport && size == messageSizes[m]:
		return m
	}
	return Other
}

// Capture is a record of datagrams. See [Router.Capture].
type Capture struct {
	router    *Router
	keep      func(Datagram) bool
	datagrams []Datagram
}

// Datagrams returns what was recorded so far, in the order in which it was sent.
func (c *Capture) Datagrams() []Datagram {
	c.router.mu.Lock()
	defer c.router.mu.Unlock()
	return slices.Clone(c.datagrams)
}

// add records a datagram, if it is to be kept. The caller holds the router's mutex.
func (c *Capture) add(d Datagram) {
	if c.keep == nil || c.keep(d) {
		c.datagrams = append(c.datagrams, d)
	}
}

// Messages returns a function for [Router.Capture] that keeps one type of message.
func Messages(m Message) func(Datagram) bool {
	return func(d Datagram) bool { return d.Message() == m }
}

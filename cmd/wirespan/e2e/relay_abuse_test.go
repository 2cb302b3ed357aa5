package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
)

// abusedRelay is a mesh whose member q relays. The member v has no UDP and needs that; the member
// e is the one whose credentials are abused, on host x. Host z is none of the mesh.
type abusedRelay struct {
	*lab
	founder, q, b, v, e *labNode
	x, z                *labHost
	server              string // where q takes requests
	atRelay, atZ        *sink  // at port 9000
}

// scenarioRelayAbuse checks what a member, an expelled one and a stranger can't do by a relay.
// All the while another member uses it, and loses nothing.
func scenarioRelayAbuse(l *lab) {
	l.isPublic()
	r := &abusedRelay{lab: l, founder: l.host("p").node(""), q: l.host("q").node(settings("relay: offer"))}
	r.b, r.v, r.e = l.host("b").node(""), l.relayed("v", natUDPBlocked), l.host("e").node("")
	r.x, r.z = l.host("x"), l.host("z")
	r.server = r.q.address + ":51820"
	r.addresses()
	token := r.founder.found()
	for _, n := range []*labNode{r.q, r.b, r.v, r.e} {
		n.join(token)
	}
	l.allUp(r.founder, r.q, r.b, r.v, r.e)
	eventually(l.T, relayTime, func() error { return relayedOnly(r.v, r.b, true) })
	flow := r.v.keepsPinging(r.b)
	r.atRelay, r.atZ = r.q.sinks(), r.z.sinks()
	all, key := r.e.relayKeys(r.q)
	id, idOfB := r.e.mustStatus().Node.ID, r.b.mustStatus().Node.ID
	credentials := func() relay.Credentials { return key.Credentials(id, time.Now()) }

	four, six := r.x.turns("udp", r.server, credentials()), r.x.turns("udp", r.server, credentials())
	r.reachesOthersAlone(four, six)
	r.floods(credentials)
	r.unknown(
		relay.NewKey("another", mesh.NewSecret(random32())).Credentials(id, time.Now()), key.Credentials("nobody", time.Now()),
		all.Credentials(idOfB, time.Now()), key.Credentials(idOfB, time.Now()), // e in the name of b
	)
	r.floodsUnsigned()
	_, other := r.b.relayKeys(r.q)
	r.floodsStreams(other.Credentials(idOfB, time.Now()))
	r.expels(four, credentials)
	flow.stop()
}

// addresses gives the relay's host and z addresses that members must not reach by the relay.
func (r *abusedRelay) addresses() {
	r.Helper()
	for _, h := range []*labHost{r.q.labHost, r.z} {
		h.ip("address add " + h.public6() + "/64 dev eth0 nodad")
	}
	r.q.ip("address add 192.168.77.1/32 dev lo")
	r.q.ip("address add 10.9.9.1/24 dev eth0")
	r.z.ip("address add 10.9.9.9/24 dev eth0")
	r.q.ip("route add 169.254.169.254/32 dev eth0")
	r.z.ip("address add 169.254.169.254/32 dev eth0")
}

// Packets to each target: so many by indications, and by a channel.
const abusePackets = 3

// reachesOthersAlone checks that a member reaches a public address by the relay, and nothing
// that only the relay's host can reach.
func (r *abusedRelay) reachesOthersAlone(four, six *turnClient) {
	r.Helper()
	relayed := []netip.Addr{four.allocated(turn.Family4).Addr(), six.allocated(turn.Family6).Addr()}
	to := func(address string) (*turnClient, netip.AddrPort) {
		at := netip.AddrPortFrom(netip.MustParseAddr(address), 9000)
		if at.Addr().Unmap().Is4() {
			return four, at
		}
		return six, at
	}
	for _, address := range []string{
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "10.9.9.9", "169.254.169.254", "255.255.255.255", "224.0.0.1", "239.1.2.3",
		"::1", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "ff02::1", "fe80::1", "fd90::1", r.b.mustStatus().Node.Address.String(),
	} {
		c, at := to(address)
		if answer, err := c.permits(at); err != nil || answer.Class != turn.Failure {
			r.Errorf("permission for %s: %+v, %v", address, answer, err)
		}
		if answer, err := c.binds(turn.MinChannel, at); err == nil && answer.Class != turn.Failure {
			r.Errorf("channel to %s: %+v", address, answer)
		}
		c.sends(leakMarker, turn.MinChannel, at)
	}
	// Of its own addresses the relay lets members reach WireGuard's port, and what it gave. The
	// last one is a broadcast of its network, which looks like any other address.
	own := []string{
		r.q.address, r.q.public6(), "192.168.77.1", "10.9.9.1", r.q.mustStatus().Node.Address.String(), r.network + "255",
	}
	for _, address := range own {
		c, at := to(address)
		_, _ = c.permits(at)
		c.sends(leakMarker, turn.MinChannel, at)
	}
	sent := 0
	for i, address := range []string{r.z.address, r.z.public6()} {
		c, at := to(address)
		_, err := c.permits(at)
		if answer, err2 := c.binds(turn.MinChannel+1, at); err != nil || err2 != nil || answer.Class != turn.Success {
			r.Fatalf("channel to %s: %+v, %v, %v", address, answer, err, err2)
		}
		if got := r.atZ.got.Load(); i == 0 && got != 0 {
			r.Errorf("z heard %d datagrams from %v", got, r.atZ.senders())
		}
		for range abusePackets {
			c.sends(leakMarker, turn.MinChannel+1, at)
			sent += 2
		}
	}
	eventually(r.T, within, func() error {
		if got := r.atZ.got.Load(); got != uint64(sent) {
			return fmt.Errorf("z heard %d of %d datagrams", got, sent)
		}
		return nil
	})
	if got := r.atZ.senders(); !slices.Equal(got, relayed) {
		r.Errorf("z heard %v, want %v", got, relayed)
	}
	if got := r.atRelay.senders(); len(got) != 0 {
		r.Errorf("the relay's own port heard %v", got)
	}
}

// floodedAllocations is how many addresses a member asks for, each from another port.
const floodedAllocations = 200

// floods checks that a member gets two addresses, however many it asks for.
func (r *abusedRelay) floods(credentials func() relay.Credentials) {
	r.Helper()
	codes := map[int]int{}
	for range floodedAllocations {
		answer, err := r.x.turns("udp", r.server, credentials()).allocates(turn.Family4)
		if err != nil {
			r.Fatal(err)
		}
		codes[answer.Code]++
	}
	if codes[turn.CodeQuota] != floodedAllocations {
		r.Errorf("answers by code (0: granted): %v", codes)
	}
	for _, m := range r.q.mustStatus().Relaying.Members {
		if m.Member == "e" && (len(m.Relayed) != 2 || m.Refused < floodedAllocations) {
			r.Errorf("the relay counts %+v", m)
		}
	}
}

// unknown checks that credentials that are no member's are refused.
func (r *abusedRelay) unknown(list ...relay.Credentials) {
	r.Helper()
	for _, have := range list {
		if answer, err := r.x.turns("udp", r.server, have).allocates(turn.Family4); err != nil || answer.Code != turn.CodeUnauthorized {
			r.Errorf("with the credentials of nobody: %+v, %v", answer, err)
		}
	}
}

// floodedRequests is how many small requests without credentials come from one address.
const floodedRequests = 3000

// floodsUnsigned checks that a flood of requests that are smaller than their answers is answered
// at a bounded rate: 20 at once, and 5 in a second.
func (r *abusedRelay) floodsUnsigned() {
	r.Helper()
	c := r.z.turns("udp", r.server, relay.Credentials{})
	answers := make(chan int)
	go func() {
		got, b := 0, make([]byte, turn.MaxMessage)
		for {
			if _, err := c.conn.Read(b); err != nil {
				answers <- got
				return
			}
			got++
		}
	}()
	began := time.Now()
	for i := range floodedRequests {
		id := random32()
		m := turn.Begin(nil, turn.Allocate, turn.Request, turn.ID(id[:12]))
		m.Transport()
		_, _ = c.conn.Write(m.Finish())
		if i%10 == 0 {
			<-time.After(time.Millisecond) // so that the socket's buffer holds them
		}
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Second))
	got := <-answers
	if most := 20 + int(time.Since(began)/(200*time.Millisecond)) + 1; got == 0 || got > most {
		r.Errorf("%d of %d small requests were answered, want at most %d", got, floodedRequests, most)
	}
	r.Logf("%d of %d small requests were answered", got, floodedRequests)
}

// Connections that one host opens at the relay, and how many of them stay open.
const (
	floodedStreams = 300
	heldStreams    = 32
)

// floodsStreams checks that one host holds a bounded number of connections, and that another one
// gets an address by TCP meanwhile.
func (r *abusedRelay) floodsStreams(other relay.Credentials) {
	r.Helper()
	var conns []net.Conn
	for range floodedStreams {
		conn, err := r.x.dial(r.Context(), "tcp", r.server)
		if err != nil {
			r.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	r.z.turns("tcp", r.server, other).allocated(turn.Family4)
	open := 0
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	if open == 0 || open > heldStreams {
		r.Errorf("%d of %d connections of a host stay open, want at most %d", open, floodedStreams, heldStreams)
	}
}

// expels expels the member whose credentials are in use.
func (r *abusedRelay) expels(c *turnClient, credentials func() relay.Credentials) {
	r.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr(r.z.address), 9000)
	r.founder.mustCLI("expel", "e")
	took := eventually(r.T, within, func() error {
		answer, err := c.permits(at)
		if err == nil && answer.Class != turn.Failure {
			err = fmt.Errorf("the expelled member has its address still: %+v", answer)
		}
		return err
	})
	r.Logf("the address of the expelled member is lost after %v", took.Round(time.Millisecond))
	before := r.atZ.got.Load()
	for range 100 {
		c.sends(leakMarker, turn.MinChannel+1, at)
	}
	for range 3 {
		if answer, err := r.x.turns("udp", r.server, credentials()).allocates(turn.Family4); err != nil || answer.Code != turn.CodeUnauthorized {
			r.Errorf("the expelled member asks: %+v, %v", answer, err)
		}
	}
	if got := r.atZ.got.Load(); got != before {
		r.Errorf("z heard %d datagrams of the expelled member", got-before)
	}
	if err := relayedOnly(r.v, r.b, true); err != nil {
		r.Error(err)
	}
}

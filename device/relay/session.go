package relay

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay/turn"
)

// lifetime is what allocations are asked for.
const lifetime = 10 * time.Minute

// session is one allocation on one connection. Its loop is run, in the goroutine of Client.Run;
// read and, for streams, write are goroutines of their own.
type session struct {
	c       *Client
	conn    net.Conn
	bursts  burst.Socket  // the same; nil: it moves datagrams one by one, or is a stream
	done    chan struct{} // closed when the loop ends
	answers chan []byte
	failed  chan error
	queue   chan *packet // to a stream; nil: datagrams
	control chan *packet

	indication turn.ID // of all indications: nobody answers them

	tableMu sync.Mutex // of who replaces the table
	table   atomic.Pointer[table]

	// The rest is the loop's.
	auth      turn.Auth
	pending   map[turn.ID]*request
	bindings  map[netip.AddrPort]*binding
	channel   uint16 // the last one used
	status    Status
	keepalive time.Duration
	refreshAt time.Time
	refreshed time.Time // when the server last agreed to keep the allocation
}

func newSession(c *Client, conn net.Conn) *session {
	s := &session{
		c: c, conn: conn, done: make(chan struct{}), answers: make(chan []byte, 16), failed: make(chan error, 2),
		auth: c.auth, pending: map[turn.ID]*request{}, bindings: map[netip.AddrPort]*binding{}, channel: turn.MinChannel - 1,
		indication: newID(),
	}
	s.table.Store(&table{})
	s.bursts, _ = conn.(burst.Socket)
	if c.cfg.Stream {
		s.queue, s.control = make(chan *packet, queueLength), make(chan *packet, controlLength)
	}
	return s
}

func newID() (id turn.ID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// run asks for an address and keeps it, until ctx ends or the reason that it returns.
func (s *session) run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(s.read)
	if s.queue != nil {
		group.Go(s.write)
	}
	defer group.Wait()
	defer s.conn.Close()
	defer close(s.done)
	defer s.c.ready.CompareAndSwap(s, nil)
	defer func() { s.c.auth = turn.Auth{Realm: s.auth.Realm, Nonce: s.auth.Nonce} }()

	if s.auth.Realm != nil {
		s.authenticate(s.auth.Realm, s.auth.Nonce)
	}
	s.ask(&request{method: turn.Allocate}, time.Now())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		next, err := s.step(now)
		if err != nil {
			return err
		}
		timer.Reset(next.Sub(now))
		select {
		case <-ctx.Done():
			s.release()
			return nil
		case err := <-s.failed:
			return fmt.Errorf("relay: connection: %w", err)
		case b := <-s.answers:
			if err := s.answer(b, time.Now()); err != nil {
				return err
			}
		case <-s.c.wake:
		case <-timer.C:
		}
	}
}

// step does what is due, and returns when something is next.
func (s *session) step(now time.Time) (next time.Time, err error) {
	next = now.Add(time.Minute)
	for id, r := range s.pending {
		switch {
		case !now.Before(r.deadline):
			delete(s.pending, id)
			if r.binding == nil {
				return now, fmt.Errorf("relay: %s: no answer in %v", r.name(), now.Sub(r.began).Round(100*time.Millisecond))
			}
			r.binding.refuse(now, silentWait)
		case s.queue == nil && !now.Before(r.again):
			s.transmit(r)
			r.interval *= 2
			r.again = now.Add(r.interval)
		}
		next = earlier(next, r.deadline)
		if s.queue == nil {
			next = earlier(next, r.again)
		}
	}
	if s.status.State != StateReady {
		return next, nil
	}
	if s.c.check.Load() {
		next = earlier(next, s.check(now))
	}
	if !now.Before(s.refreshAt) {
		s.refreshAt = now.Add(s.keepalive)
		s.ask(&request{method: turn.Refresh}, now)
		next = earlier(next, now.Add(firstInterval))
	}
	next = earlier(earlier(next, s.refreshAt), s.bind(now))
	s.publish()
	return next, nil
}

// Times of a check. Packets wait for what a stream has taken before, and for its repetitions.
const (
	checkPause    = time.Second // after an answer
	checkDatagram = 2500 * time.Millisecond
	checkStream   = answerTimeout
)

// check asks the server at once whether it is there, and returns when something is next.
func (s *session) check(now time.Time) (next time.Time) {
	if due := s.refreshed.Add(checkPause); now.Before(due) {
		return due
	}
	deadline := now.Add(checkDatagram)
	if s.queue != nil {
		deadline = now.Add(checkStream)
	}
	for _, r := range s.pending {
		if r.method == turn.Refresh { // its answer may be of before: the check follows
			r.deadline = earlier(r.deadline, deadline)
			return r.deadline
		}
	}
	s.c.check.Store(false)
	r := &request{method: turn.Refresh}
	s.ask(r, now)
	r.deadline = deadline
	return r.again
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// publish stores what the session knows.
func (s *session) publish() {
	st := s.status
	st.Permitted = true
	for _, b := range s.bindings {
		switch {
		case b.refused && b.channel == 0:
			st.Refused = append(st.Refused, b.peer.Addr())
		case b.live && b.channel != 0:
			st.Channels++
		}
	}
	for _, p := range s.c.wanted() {
		b := s.bindings[netip.AddrPortFrom(p.Addr(), 0)]
		st.Permitted = st.Permitted && b != nil && (b.live || b.refused)
	}
	sort.Slice(st.Refused, func(i, j int) bool { return st.Refused[i].Less(st.Refused[j]) })
	s.c.publish(st)
}

// release gives the allocation back. The end of a stream says the same.
func (s *session) release() {
	if s.status.State == StateReady && s.queue == nil {
		s.transmit(s.build(&request{method: turn.Refresh, release: true}))
	}
}

// read takes what the server sends.
func (s *session) read() {
	next := s.datagrams()
	if s.queue != nil {
		frames := turn.NewFrameReader(s.conn)
		next = func() (b []byte, size int, err error) {
			b, err = frames.Next()
			return b, len(b), err
		}
	}
	for {
		b, size, err := next()
		if err != nil {
			s.fail(err)
			return
		}
		for len(b) > 0 {
			var first []byte
			first, b = burst.Cut(b, size)
			s.incoming(first)
		}
	}
}

// datagrams returns what reads a burst.
func (s *session) datagrams() func() (b []byte, size int, err error) {
	if s.bursts == nil {
		buf := make([]byte, turn.MaxMessage)
		return func() ([]byte, int, error) {
			n, err := s.conn.Read(buf)
			return buf[:n], n, err
		}
	}
	buf := make([]byte, burst.Size)
	return func() ([]byte, int, error) {
		n, size, _, err := s.bursts.ReadBurst(buf)
		return buf[:n], size, err
	}
}

func (s *session) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// incoming delivers data, and hands an answer to the loop.
func (s *session) incoming(b []byte) {
	if number, data, ok := turn.ParseChannel(b); ok {
		if via := s.table.Load().numbers[number]; via != nil {
			if !via.active.Load() {
				via.active.Store(true)
			}
			s.deliver(data, via.peer)
		}
		return
	}
	if !turn.Is(b) {
		return
	}
	switch method, class := turn.Kind(b); {
	case class == turn.Indication && method == turn.Data:
		var m turn.Message
		if turn.Parse(&m, b) != nil || !m.HasData || !m.Peer.IsValid() || m.Peer.Port() == 0 {
			return
		}
		s.hear(m.Peer)
		s.deliver(m.Data, m.Peer)
	case class == turn.Success || class == turn.Failure:
		s.c.count.answered.Add(1)
		select {
		case s.answers <- append([]byte(nil), b...):
		case <-s.done:
		}
	}
}

func (s *session) deliver(b []byte, from netip.AddrPort) {
	s.c.count.received.Add(1)
	s.c.count.receivedBytes.Add(uint64(len(b)))
	if s.c.unanswered.Load() != 0 {
		s.c.unanswered.Store(0)
	}
	s.c.cfg.Receive(b, from)
}

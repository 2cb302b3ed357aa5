package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/device/relay/turn"
)

// Times of a request. Over UDP it is sent at 0, 0.3, 0.9 and 2.1 s.
const (
	firstInterval = 300 * time.Millisecond
	answerTimeout = 4 * time.Second
)

// maxChallenges is how often a request is made again with what a server asks for.
const maxChallenges = 3

// requestPadding makes the first request as large as the answer that asks for credentials.
const requestPadding = 48

// request is a transaction under way.
type request struct {
	method  int
	binding *binding // of a permission or a channel
	release bool     // of a refresh: ends the allocation

	id         turn.ID
	raw        []byte
	began      time.Time
	again      time.Time // when it is sent once more
	interval   time.Duration
	deadline   time.Time
	sent       int
	signed     bool
	challenges int
	renewed    bool // with new credentials
}

func (r *request) name() string {
	switch r.method {
	case turn.Allocate:
		return "asking for an address"
	case turn.Refresh:
		return "refreshing the address"
	case turn.CreatePermission:
		return fmt.Sprintf("permitting %v", r.binding.peer.Addr())
	}
	return fmt.Sprintf("binding a channel to %v", r.binding.peer)
}

// ask sends a request.
func (s *session) ask(r *request, now time.Time) {
	s.build(r)
	r.began, r.sent, r.interval = now, 0, firstInterval
	r.again, r.deadline = now.Add(firstInterval), now.Add(answerTimeout)
	s.pending[r.id] = r
	s.transmit(r)
}

// build encodes a request, as a transaction of its own.
func (s *session) build(r *request) *request {
	r.id, r.signed = newID(), s.auth.Key != nil
	m := turn.Begin(nil, r.method, turn.Request, r.id)
	switch r.method {
	case turn.Allocate:
		m.Transport()
		m.Lifetime(uint32(lifetime.Seconds()))
		switch {
		case s.c.cfg.Family6:
			m.Family(turn.Family6)
		case s.overIPv6(): // or servers of pion's give an address of IPv6
			m.Family(turn.Family4)
		}
		if !r.signed {
			m.Padding(requestPadding)
		}
	case turn.Refresh:
		if r.release {
			m.Lifetime(0)
		} else {
			m.Lifetime(uint32(lifetime.Seconds()))
		}
	case turn.CreatePermission:
		m.Peer(netip.AddrPortFrom(r.binding.peer.Addr(), 0))
	case turn.ChannelBind:
		m.Channel(r.binding.channel)
		m.Peer(r.binding.peer)
	}
	m.Sign(s.auth)
	r.raw = m.Finish()
	return r
}

// overIPv6 reports whether the server is reached by IPv6.
func (s *session) overIPv6() bool {
	a, err := netip.ParseAddrPort(s.conn.RemoteAddr().String())
	return err == nil && !a.Addr().Unmap().Is4()
}

// transmit sends a request's bytes. If that fails, it is as if they were lost.
func (s *session) transmit(r *request) {
	r.sent++
	s.c.count.asked.Add(1)
	if s.queue == nil {
		_, _ = s.conn.Write(r.raw)
		return
	}
	p := s.c.packets.Get().(*packet)
	p.n = copy(p.b[:], r.raw)
	select {
	case s.control <- p:
	default:
		s.c.packets.Put(p)
	}
}

// authenticate takes credentials for what a server named.
func (s *session) authenticate(realm, nonce []byte) {
	have := s.c.cfg.Credentials(s.c.clock.at(time.Now()))
	s.auth = turn.Auth{
		Username: have.Username, Realm: append([]byte{}, realm...), Nonce: append([]byte{}, nonce...),
		Key: turn.Key(have.Username, string(realm), have.Password.Reveal()),
	}
}

// clock is what a server said of its time.
type clock struct{ told, heard time.Time }

// at returns the server's time; zero if that has told none.
func (c clock) at(now time.Time) time.Time {
	if c.told.IsZero() {
		return c.told
	}
	return c.told.Add(now.Sub(c.heard))
}

// answer takes an answer. An error ends the session.
func (s *session) answer(b []byte, now time.Time) error {
	var m turn.Message
	if turn.Parse(&m, b) != nil {
		return nil
	}
	r := s.pending[m.ID]
	if r == nil || m.Method != r.method || m.Class == turn.Success && (!r.signed || !m.Authentic(s.auth.Key)) {
		return nil
	}
	delete(s.pending, m.ID)
	if r.sent == 1 {
		s.status.RTT = now.Sub(r.began)
	}
	if m.Class == turn.Failure {
		return s.refused(r, &m, now)
	}
	switch r.method {
	case turn.Allocate:
		return s.allocated(&m, now)
	case turn.Refresh:
		s.extend(&m, now)
	default:
		r.binding.confirm(now)
		s.replaceTable()
	}
	return nil
}

// allocated takes the address.
func (s *session) allocated(m *turn.Message, now time.Time) error {
	if !m.Relayed.IsValid() || m.Relayed.Port() == 0 || m.Relayed.Addr().Is6() != s.c.cfg.Family6 {
		return errors.New("relay: asking for an address: the server named none of the family that was asked for")
	}
	s.status.State, s.status.Relayed, s.status.Mapped = StateReady, m.Relayed, m.Mapped
	s.extend(m, now)
	s.c.count.allocations.Add(1)
	s.c.ready.Store(s)
	return nil
}

// extend takes the lifetime that a server has granted.
func (s *session) extend(m *turn.Message, now time.Time) {
	granted := lifetime
	if m.Lifetime >= 0 {
		granted = time.Duration(m.Lifetime) * time.Second
	}
	s.status.Expires = now.Add(granted)
	s.keepalive = max(min(s.c.cfg.Keepalive, granted/3), time.Second)
	s.refreshAt, s.refreshed = now.Add(s.keepalive), now
}

// refused takes a failure: it tries again with what the server wants, gives up a permission or
// a channel, or else ends the session.
func (s *session) refused(r *request, m *turn.Message, now time.Time) error {
	err := &Error{r.name(), m.Code}
	challenge := (m.Code == turn.CodeUnauthorized || m.Code == turn.CodeStaleNonce) && m.Nonce != nil
	if challenge && m.Time != 0 {
		s.c.clock = clock{time.Unix(m.Time, 0), now}
	}
	if challenge && r.challenges < maxChallenges {
		realm := m.Realm
		if realm == nil {
			realm = s.auth.Realm
		}
		switch {
		case m.Code == turn.CodeStaleNonce && s.auth.Key != nil && string(realm) == string(s.auth.Realm):
			s.auth.Nonce = m.Nonce
		case !r.signed || !r.renewed:
			r.renewed = r.signed
			s.authenticate(realm, m.Nonce)
		default:
			return err
		}
		r.challenges++
		s.ask(r, now)
		return nil
	}
	if r.binding == nil || m.Code == turn.CodeMismatch || m.Code == turn.CodeWrongCredentials || challenge {
		return err
	}
	r.binding.refuse(now, refusedWait)
	s.replaceTable()
	return nil
}

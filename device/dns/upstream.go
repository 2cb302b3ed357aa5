package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	wire "github.com/miekg/dns"
)

// hopsMark is what the EDNS option starts with that counts the servers a query has passed. Its
// code is one for local use (RFC 6891 §9), so other programs may use it for something else.
const (
	hopsCode = wire.EDNS0LOCALSTART + 0x77
	hopsMark = "wirespan"
)

// hops returns how many servers like this one a query has passed.
func hops(opt *wire.OPT) int {
	if opt == nil {
		return 0
	}
	for _, o := range opt.Option {
		if l, ok := o.(*wire.EDNS0_LOCAL); ok && l.Code == hopsCode && len(l.Data) == len(hopsMark)+1 && string(l.Data[:len(hopsMark)]) == hopsMark {
			return int(l.Data[len(hopsMark)])
		}
	}
	return 0
}

// upstreams returns the resolvers to ask, without this server itself.
func (s *Server) upstreams() (out []netip.AddrPort) {
	for _, u := range s.cfg.Upstreams() {
		if u.IsValid() && len(out) < maxUpstreams && !s.isOwn(netip.AddrPortFrom(u.Addr().Unmap(), u.Port())) {
			out = append(out, u)
		}
	}
	return out
}

// forward returns the reply of an upstream, or that none has answered.
func (s *Server) forward(ctx context.Context, q *query) *wire.Msg {
	s.counts.forwarded.Add(1)
	key := fmt.Sprint(q.Name, q.Qtype, q.dnssec(), q.header.CheckingDisabled, q.header.AuthenticatedData, q.hops)
	got, err, _ := s.flights.Do(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, upstreamTotal)
		defer cancel()
		return s.ask(ctx, q)
	})
	if err != nil {
		s.counts.failed.Add(1)
		return q.fail(wire.RcodeServerFailure)
	}
	return q.relay(got.(*wire.Msg))
}

// relay returns the reply that follows from an upstream's, which is only read: other queries
// may have the same.
func (q *query) relay(from *wire.Msg) *wire.Msg {
	m := q.reply()
	m.Rcode = from.Rcode
	if m.Rcode > 0xf && q.opt == nil {
		m.Rcode = wire.RcodeServerFailure
	}
	m.AuthenticatedData = from.AuthenticatedData && (q.dnssec() || q.header.AuthenticatedData)
	m.Answer, m.Ns = from.Answer, from.Ns
	for _, rr := range from.Extra {
		if t := rr.Header().Rrtype; t != wire.TypeOPT && t != wire.TypeTSIG {
			m.Extra = append(m.Extra, rr)
		}
	}
	return m
}

// ask asks one upstream after another, first the one that answered last.
func (s *Server) ask(ctx context.Context, q *query) (*wire.Msg, error) {
	upstreams := s.upstreams()
	if len(upstreams) == 0 {
		return nil, errors.New("no upstream")
	}
	first := int(s.good.Load())
	var refused *wire.Msg
	var errs []error
	for i := range upstreams {
		at := (first + i) % len(upstreams)
		m, err := s.exchange(ctx, q, upstreams[at])
		switch {
		case err != nil:
			errs = append(errs, err)
		case m.Rcode == wire.RcodeServerFailure || m.Rcode == wire.RcodeRefused:
			refused = m
		default:
			s.good.Store(int64(at))
			return m, nil
		}
	}
	if refused != nil {
		return refused, nil
	}
	return nil, errors.Join(errs...)
}

// exchange asks an upstream by UDP, and by TCP if the answer is truncated.
func (s *Server) exchange(ctx context.Context, q *query, to netip.AddrPort) (*wire.Msg, error) {
	m := &wire.Msg{MsgHdr: wire.MsgHdr{
		Id: wire.Id(), RecursionDesired: true,
		CheckingDisabled: q.header.CheckingDisabled, AuthenticatedData: q.header.AuthenticatedData,
	}, Question: []wire.Question{q.Question}}
	opt := newOPT(q.dnssec())
	opt.Option = []wire.EDNS0{&wire.EDNS0_LOCAL{Code: hopsCode, Data: append([]byte(hopsMark), byte(q.hops+1))}}
	m.Extra = []wire.RR{opt}
	b, err := m.Pack()
	if err != nil {
		return nil, err
	}
	got, err := s.exchangeBy(ctx, "udp", to, m, b, readPacket)
	if err == nil && got.Truncated {
		got, err = s.exchangeBy(ctx, "tcp", to, m, append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...), readStream)
	}
	return got, err
}

// exchangeBy sends a query, and reads until there is the reply to it.
func (s *Server) exchangeBy(ctx context.Context, network string, to netip.AddrPort, m *wire.Msg, b []byte, read func(net.Conn) ([]byte, error)) (*wire.Msg, error) {
	const stray = 16 // messages that are no reply to it
	ctx, cancel := context.WithTimeout(ctx, upstreamTry)
	defer cancel()
	conn, err := s.cfg.Dial(ctx, network, to.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(b); err != nil {
		return nil, err
	}
	for range stray {
		in, err := read(conn)
		if err != nil {
			return nil, err
		}
		got := &wire.Msg{}
		if got.Unpack(in) == nil && answers(got, m) {
			return got, sound(got)
		}
	}
	return nil, fmt.Errorf("upstream %v: no reply to the query among %d messages", to, stray)
}

// sound returns an error for a message with records that decode, but then encode to others that
// don't.
func sound(m *wire.Msg) error {
	b, err := m.Pack()
	if err != nil {
		return err
	}
	return new(wire.Msg).Unpack(b)
}

// answers reports whether a message is the reply to a query.
func answers(m, to *wire.Msg) bool {
	if m.Id != to.Id || !m.Response || m.Opcode != wire.OpcodeQuery {
		return false
	}
	if len(m.Question) == 0 { // some errors have none
		return m.Rcode != wire.RcodeSuccess && m.Rcode != wire.RcodeNameError
	}
	asked, q := to.Question[0], m.Question[0]
	return len(m.Question) == 1 && q.Qtype == asked.Qtype && q.Qclass == asked.Qclass &&
		equalFold(q.Name, wire.CanonicalName(asked.Name))
}

func readPacket(conn net.Conn) ([]byte, error) {
	buf := make([]byte, maxQuery)
	n, err := conn.Read(buf)
	return buf[:n], err
}

func readStream(conn net.Conn) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(conn, buf)
	return buf, err
}

package dns

import (
	"encoding/binary"

	wire "github.com/miekg/dns"
)

// query is a question that can be answered or forwarded.
type query struct {
	wire.Question // as it was asked: clients compare the case of the name

	header    wire.MsgHdr
	opt       *wire.OPT // nil: no EDNS
	hops      int       // servers like this one that it has passed
	recursive bool      // this server has upstreams
}

const headerSize = 12

// read returns a query and its reply. The reply is nil if an upstream has to be asked; both
// are nil if the message gets no answer. Of what is no good query there is a reply only.
func (s *Server) read(in []byte) (*query, *wire.Msg) {
	const response = 0x80
	if len(in) < headerSize || in[2]&response != 0 {
		return nil, nil
	}
	bare := func(rcode int) *wire.Msg {
		m := &wire.Msg{}
		m.Id, m.Opcode = binary.BigEndian.Uint16(in), int(in[2]>>3&0xf)
		m.Response, m.Rcode = true, rcode
		return m
	}
	if in[2]>>3&0xf != wire.OpcodeQuery {
		return nil, bare(wire.RcodeNotImplemented)
	}
	var m wire.Msg
	if m.Unpack(in) != nil || len(m.Question) != 1 || len(m.Answer) > 0 || len(m.Ns) > 0 {
		return nil, bare(wire.RcodeFormatError)
	}
	q := &query{Question: m.Question[0], header: m.MsgHdr}
	for _, rr := range m.Extra {
		if opt, ok := rr.(*wire.OPT); ok {
			if q.opt != nil || opt.Hdr.Name != "." {
				return nil, bare(wire.RcodeFormatError)
			}
			q.opt = opt
		}
	}
	upstreams := s.upstreams()
	q.recursive = len(upstreams) > 0
	switch {
	case q.opt != nil && q.opt.Version() != 0:
		return q, q.fail(wire.RcodeBadVers)
	case q.Qtype == wire.TypeOPT:
		return q, q.fail(wire.RcodeFormatError)
	case q.Qclass != wire.ClassINET || isMeta(q.Qtype):
		return q, q.fail(wire.RcodeRefused)
	}
	if reply := s.local(q); reply != nil {
		return q, reply
	}
	if !q.recursive || !q.header.RecursionDesired {
		return q, q.fail(wire.RcodeRefused)
	}
	if q.hops = hops(q.opt); q.hops >= maxHops {
		return q, q.fail(wire.RcodeServerFailure)
	}
	return q, nil
}

// isMeta reports whether a type is that of no records (RFC 6895 §3.1), ANY aside.
func isMeta(t uint16) bool { return t == wire.TypeNone || t >= 128 && t < wire.TypeANY }

// reply returns an empty reply.
func (q *query) reply() *wire.Msg {
	m := &wire.Msg{MsgHdr: wire.MsgHdr{
		Id: q.header.Id, Response: true, RecursionDesired: q.header.RecursionDesired,
		CheckingDisabled: q.header.CheckingDisabled, RecursionAvailable: q.recursive,
	}, Question: []wire.Question{q.Question}}
	if q.opt != nil {
		m.Extra = []wire.RR{newOPT(q.opt.Do())}
	}
	return m
}

// fail returns a reply with an error.
func (q *query) fail(rcode int) *wire.Msg {
	m := q.reply()
	m.Rcode = rcode
	return m
}

// dnssec reports whether the client takes signatures.
func (q *query) dnssec() bool { return q.opt != nil && q.opt.Do() }

func newOPT(dnssec bool) *wire.OPT {
	opt := &wire.OPT{Hdr: wire.RR_Header{Name: ".", Rrtype: wire.TypeOPT}}
	opt.SetUDPSize(packetSize)
	opt.SetDo(dnssec)
	return opt
}

// packetSize returns how long a reply by UDP may be.
func (q *query) packetSize() int {
	if q == nil || q.opt == nil {
		return minPacketSize
	}
	return min(max(int(q.opt.UDPSize()), minPacketSize), packetSize)
}

// encode returns a message, cut if it is longer than size; nil if there is none. It may use
// buf.
func encode(m *wire.Msg, size int, buf []byte) []byte {
	if m == nil {
		return nil
	}
	m.Compress = len(m.Answer)+len(m.Ns) > 1
	b, err := m.PackBuffer(buf)
	if err == nil && len(b) <= size {
		return b
	}
	cut := wire.Msg{MsgHdr: m.MsgHdr, Question: m.Question}
	if opt := m.IsEdns0(); opt != nil {
		cut.Extra = []wire.RR{opt}
	}
	if cut.Truncated = err == nil; err != nil { // an upstream has sent what can't be passed on
		cut.Rcode = wire.RcodeServerFailure
	}
	if b, err = cut.PackBuffer(buf); err != nil {
		return nil
	}
	return b
}

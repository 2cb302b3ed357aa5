package dns

import (
	"fmt"
	"strings"
	"testing"

	wire "github.com/miekg/dns"
)

// brief is a message in one line.
func brief(m *wire.Msg) string {
	if m == nil {
		return "nothing"
	}
	out := wire.RcodeToString[m.Rcode]
	for _, flag := range []struct {
		name string
		set  bool
	}{{"aa", m.Authoritative}, {"tc", m.Truncated}, {"ra", m.RecursionAvailable}} {
		if flag.set {
			out += " " + flag.name
		}
	}
	for _, rr := range m.Answer {
		out += " | " + strings.Join(strings.Fields(rr.String()), " ")
	}
	for _, rr := range m.Ns {
		out += " / " + strings.Join(strings.Fields(rr.String()), " ")
	}
	if opt := m.IsEdns0(); opt != nil {
		out += fmt.Sprintf(" + %d", opt.UDPSize())
	}
	return out
}

// exchange returns the reply to a message, as a client reads it.
func exchange(t testing.TB, s *Server, in []byte) *wire.Msg {
	t.Helper()
	q, reply := s.read(in)
	b := encode(reply, q.packetSize(), nil)
	if b == nil {
		return nil
	}
	m := &wire.Msg{}
	if err := m.Unpack(b); err != nil {
		t.Fatalf("the reply does not decode: %v", err)
	}
	if m.Id != 7 || !m.Response {
		t.Errorf("the reply's header: %+v", m.MsgHdr)
	}
	return m
}

func TestZoneAnswers(t *testing.T) {
	const (
		soa     = "mesh. 5 IN SOA mesh. nobody.invalid. 1 3600 1200 604800 5"
		apex    = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa."
		soaBack = apex + " 5 IN SOA " + apex + " nobody.invalid. 1 3600 1200 604800 5"
		back    = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
	)
	s := newServer(t, Config{})
	for _, test := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"db.mesh.", wire.TypeAAAA, "NOERROR aa | db.mesh. 5 IN AAAA fd00:0:0:2::2"},
		{"db.mesh.", wire.TypeA, "NOERROR aa | db.mesh. 5 IN A 10.9.0.2 | db.mesh. 5 IN A 10.9.0.3"},
		{"dB.MeSh.", wire.TypeAAAA, "NOERROR aa | dB.MeSh. 5 IN AAAA fd00:0:0:2::2"},
		{"db.mesh.", wire.TypeMX, "NOERROR aa / " + soa},
		{"db.mesh.", wire.TypeSOA, "NOERROR aa / " + soa},
		{"db.mesh.", wire.TypeHTTPS, "NOERROR aa / " + soa},
		{"db.mesh.", wire.TypeANY, `NOERROR aa | db.mesh. 5 IN HINFO "RFC8482" ""`},
		{"x.mesh.", wire.TypeANY, "NXDOMAIN aa / " + soa},
		{"x.mesh.", wire.TypeA, "NXDOMAIN aa / " + soa},
		{"x.db.mesh.", wire.TypeA, "NXDOMAIN aa / " + soa},
		{"id.mesh.", wire.TypeA, "NOERROR aa / " + soa},
		{"mesh.", wire.TypeA, "NOERROR aa / " + soa},
		{"Mesh.", wire.TypeSOA, "NOERROR aa | " + soa},
		{"mesh.", wire.TypeNS, "NOERROR aa | mesh. 5 IN NS mesh."},
		{"mesh.", wire.TypeDS, "NOERROR aa / " + soa},
		{"many.mesh.", wire.TypeA, "NOERROR aa tc"},
		{back + apex, wire.TypePTR, "NOERROR aa | " + back + apex + " 5 IN PTR db.mesh."},
		{strings.ToUpper(back + apex), wire.TypePTR, "NOERROR aa | " + strings.ToUpper(back+apex) + " 5 IN PTR db.mesh."},
		{back + apex, wire.TypeAAAA, "NOERROR aa / " + soaBack},
		{"f" + back[1:] + apex, wire.TypePTR, "NXDOMAIN aa / " + soaBack},
		{"0.0.0." + apex, wire.TypePTR, "NOERROR aa / " + soaBack},
		{"x." + back + apex, wire.TypePTR, "NXDOMAIN aa / " + soaBack},
		{"0." + back + apex, wire.TypePTR, "NXDOMAIN aa / " + soaBack},
		{"00.0." + apex, wire.TypePTR, "NXDOMAIN aa / " + soaBack},
		{"g." + apex, wire.TypePTR, "NXDOMAIN aa / " + soaBack},
		{apex, wire.TypeNS, "NOERROR aa | " + apex + " 5 IN NS " + apex},
		{"2.0.9.10.in-addr.arpa.", wire.TypePTR, "NOERROR aa | 2.0.9.10.in-addr.arpa. 5 IN PTR db.mesh."},
		{"2.0.9.10.in-addr.arpa.", wire.TypeA, "NOERROR aa / 2.0.9.10.in-addr.arpa. 5 IN SOA 2.0.9.10.in-addr.arpa. nobody.invalid. 1 3600 1200 604800 5"},

		// Others' names; this server has no upstream.
		{"9.0.9.10.in-addr.arpa.", wire.TypePTR, "REFUSED"},
		{"0.9.10.in-addr.arpa.", wire.TypePTR, "REFUSED"},
		{"02.0.9.10.in-addr.arpa.", wire.TypePTR, "REFUSED"},
		{back + "3" + apex[1:], wire.TypePTR, "REFUSED"},
		{apex[2:], wire.TypeNS, "REFUSED"},
		{"example.com.", wire.TypeA, "REFUSED"},
		{"xmesh.", wire.TypeA, "REFUSED"},
		{`db\.mesh.`, wire.TypeA, "REFUSED"},
		{`db\\.mesh.`, wire.TypeA, "NXDOMAIN aa / " + soa},
		{"db.mesh.org.", wire.TypeA, "REFUSED"},
		{".", wire.TypeNS, "REFUSED"},

		{"mesh.", wire.TypeAXFR, "REFUSED"},
		{"mesh.", wire.TypeIXFR, "REFUSED"},
		{"db.mesh.", wire.TypeTSIG, "REFUSED"},
		{"db.mesh.", wire.TypeNone, "REFUSED"},
		{"db.mesh.", wire.TypeOPT, "FORMERR"},
	} {
		m := exchange(t, s, ask(t, test.name, test.typ))
		if got := brief(m); got != test.want {
			t.Errorf("%s %s:\n got %s\nwant %s", test.name, wire.Type(test.typ), got, test.want)
		}
		if len(m.Question) != 1 || m.Question[0].Name != test.name {
			t.Errorf("%s: the reply's question is %v", test.name, m.Question)
		}
	}
}

func TestQueryChecks(t *testing.T) {
	edns := func(size uint16, change ...func(*wire.OPT)) func(*wire.Msg) {
		return func(m *wire.Msg) {
			m.SetEdns0(size, true)
			for _, f := range change {
				f(m.IsEdns0())
			}
		}
	}
	good := "NOERROR aa | db.mesh. 5 IN AAAA fd00:0:0:2::2"
	s := newServer(t, Config{})
	for _, test := range []struct {
		name string
		in   []byte
		want string
	}{
		{"empty", nil, "nothing"},
		{"short", ask(t, "db.mesh.", wire.TypeAAAA)[:11], "nothing"},
		{"header only", ask(t, "db.mesh.", wire.TypeAAAA)[:12], "FORMERR"},
		{"cut name", ask(t, "db.mesh.", wire.TypeAAAA)[:15], "FORMERR"},
		{"response", ask(t, "db.mesh.", wire.TypeAAAA, func(m *wire.Msg) { m.Response = true }), "nothing"},
		{"status", ask(t, "db.mesh.", wire.TypeAAAA, func(m *wire.Msg) { m.Opcode = wire.OpcodeStatus }), "NOTIMP"},
		{"notify", ask(t, "mesh.", wire.TypeSOA, func(m *wire.Msg) { m.Opcode = wire.OpcodeNotify }), "NOTIMP"},
		{"update", ask(t, "mesh.", wire.TypeSOA, func(m *wire.Msg) { m.Opcode = wire.OpcodeUpdate }), "NOTIMP"},
		{"class CH", ask(t, "version.bind.", wire.TypeTXT, func(m *wire.Msg) { m.Question[0].Qclass = wire.ClassCHAOS }), "REFUSED"},
		{"class ANY", ask(t, "db.mesh.", wire.TypeAAAA, func(m *wire.Msg) { m.Question[0].Qclass = wire.ClassANY }), "REFUSED"},
		{"no question", ask(t, "db.mesh.", wire.TypeAAAA, func(m *wire.Msg) { m.Question = nil }), "FORMERR"},
		{"two questions", ask(t, "db.mesh.", wire.TypeAAAA, func(m *wire.Msg) { m.Question = append(m.Question, m.Question[0]) }), "FORMERR"},
		{"an answer", ask(t, "db.mesh.", wire.TypeAAAA, func(m *wire.Msg) {
			m.Answer = []wire.RR{&wire.NS{Hdr: header("a.", wire.TypeNS), Ns: "b."}}
		}), "FORMERR"},
		{"EDNS", ask(t, "db.mesh.", wire.TypeAAAA, edns(4096)), good + " + 1232"},
		{"EDNS, room", ask(t, "many.mesh.", wire.TypeAAAA, edns(4096)), "NOERROR aa | many.mesh. 5 IN AAAA fd00:0:0:2::3 + 1232"},
		{"EDNS, little room", ask(t, "many.mesh.", wire.TypeA, edns(100)), "NOERROR aa tc + 1232"},
		{"EDNS version", ask(t, "db.mesh.", wire.TypeAAAA, edns(1232, func(o *wire.OPT) { o.SetVersion(1) })), "BADVERS + 1232"},
		{"EDNS twice", ask(t, "db.mesh.", wire.TypeAAAA, edns(1232), func(m *wire.Msg) { m.Extra = append(m.Extra, m.Extra[0]) }), "FORMERR"},
		{"EDNS with a name", ask(t, "db.mesh.", wire.TypeAAAA, edns(1232, func(o *wire.OPT) { o.Hdr.Name = "x." })), "FORMERR"},
		{"unknown option", ask(t, "db.mesh.", wire.TypeAAAA, edns(1232, func(o *wire.OPT) {
			o.Option = []wire.EDNS0{&wire.EDNS0_COOKIE{Code: wire.EDNS0COOKIE, Cookie: "0011223344556677"}}
		})), good + " + 1232"},
	} {
		got := strings.Replace(brief(exchange(t, s, test.in)), "BADSIG", "BADVERS", 1) // the same number
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	m := exchange(t, s, ask(t, "many.mesh.", wire.TypeA, edns(4096)))
	if len(m.Answer) != 40 || m.Truncated || !m.IsEdns0().Do() {
		t.Errorf("with EDNS: %s", brief(m))
	}
}

// A zone that changes is answered for from the next query on.
func TestZoneChanges(t *testing.T) {
	zone := testNames()
	s := newServer(t, Config{Zone: func() Zone { return zone }})
	if got := brief(exchange(t, s, ask(t, "x.mesh.", wire.TypeA))); !strings.HasPrefix(got, "NXDOMAIN") {
		t.Error(got)
	}
	zone = testZone{"x": dbAddrs}
	if got := brief(exchange(t, s, ask(t, "x.mesh.", wire.TypeAAAA))); !strings.HasPrefix(got, "NOERROR aa | x.mesh.") {
		t.Error(got)
	}
	zone = corp{zone}
	if got := brief(exchange(t, s, ask(t, "x.mesh.", wire.TypeAAAA))); got != "REFUSED" {
		t.Error(got)
	}
	if got := brief(exchange(t, s, ask(t, "x.corp.example.", wire.TypeAAAA))); !strings.HasPrefix(got, "NXDOMAIN aa / corp.example.") {
		t.Error(got)
	}
}

type corp struct{ Zone }

func (corp) Domain() string { return "corp.example" }

// FuzzQuery: whatever comes, a reply is one that a client can read, is of its query, and is no
// larger than the client takes.
func FuzzQuery(f *testing.F) {
	f.Add(ask(f, "db.mesh.", wire.TypeAAAA))
	f.Add(ask(f, "many.mesh.", wire.TypeA, func(m *wire.Msg) { m.SetEdns0(1232, true) }))
	f.Add(ask(f, "2.0.9.10.in-addr.arpa.", wire.TypePTR))
	f.Add(ask(f, "2.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", wire.TypePTR))
	f.Add(ask(f, `a\.b\\.mesh.`, wire.TypeANY))
	s := newServer(f, Config{})
	f.Fuzz(func(t *testing.T, in []byte) {
		q, reply := s.read(in)
		if reply == nil {
			if q != nil {
				t.Fatal("to be forwarded, without an upstream")
			}
			return
		}
		b := encode(reply, q.packetSize(), nil)
		if b == nil {
			t.Fatalf("the reply does not encode: %v", reply)
		}
		if len(b) > q.packetSize() {
			t.Fatalf("%d bytes, the client takes %d", len(b), q.packetSize())
		}
		var m wire.Msg
		if err := m.Unpack(b); err != nil {
			t.Fatalf("the reply does not decode: %v", err)
		}
		if m.Id != uint16(in[0])<<8|uint16(in[1]) || !m.Response {
			t.Fatalf("header %+v", m.MsgHdr)
		}
	})
}

func BenchmarkMeshQuery(b *testing.B) {
	s := newServer(b, Config{})
	in, out := ask(b, "db.mesh.", wire.TypeAAAA), make([]byte, wire.MaxMsgSize)
	b.ReportAllocs()
	for b.Loop() {
		q, reply := s.read(in)
		encode(reply, q.packetSize(), out)
	}
}

// TestAllocations bounds what a query about the mesh costs.
func TestAllocations(t *testing.T) {
	s := newServer(t, Config{})
	in, out := ask(t, "db.mesh.", wire.TypeAAAA), make([]byte, wire.MaxMsgSize)
	got := testing.AllocsPerRun(1000, func() {
		q, reply := s.read(in)
		encode(reply, q.packetSize(), out)
	})
	if got > 8 {
		t.Errorf("a query allocates %v times", got)
	}
}

package offload

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// stream returns n segments of one flow, with size bytes of payload.
func stream(s spec, n, size int) []spec {
	out := make([]spec, n)
	for i := range out {
		out[i] = s
		out[i].seq += uint32(i * size)
		out[i].id += uint16(i)
		out[i].payload = bytes.Repeat([]byte{byte('a' + i)}, size)
	}
	return out
}

// with returns a stream with packet i changed.
func with(in []spec, i int, change func(*spec)) []spec {
	out := slices.Clone(in)
	change(&out[i])
	return out
}

func TestCoalesce(t *testing.T) {
	tcp := stream(spec{seq: 0xfffffff0, id: 0xffff, fragment: 0x4000}, 4, 100)
	tcp6 := stream(spec{v6: true}, 4, 100)
	udp := stream(spec{udp: true, fragment: 0x4000}, 4, 100)
	udp6 := stream(spec{udp: true, v6: true}, 4, 100)
	for name, tc := range map[string]struct {
		in   []spec
		want string // sizes of the runs, in order
	}{
		"TCP":                    {tcp, "[4]"},
		"TCP v6":                 {tcp6, "[4]"},
		"UDP":                    {udp, "[4]"},
		"UDP v6":                 {udp6, "[4]"},
		"two flows":              {[]spec{tcp[0], tcp6[0], tcp[1], tcp6[1], tcp6[2], tcp[2]}, "[3 3]"},
		"other address":          {with(tcp, 2, func(s *spec) { s.flow = 1 }), "[2 1 1]"},
		"gap":                    {[]spec{tcp[0], tcp[1], tcp[3]}, "[2 1]"},
		"out of order":           {[]spec{tcp[1], tcp[0], tcp[2]}, "[1 1 1]"},
		"retransmission":         {[]spec{tcp[0], tcp[1], tcp[1], tcp[2]}, "[2 2]"},
		"traffic class":          {with(tcp, 2, func(s *spec) { s.tos = 1 }), "[2 1 1]"},
		"class v6":               {with(tcp6, 2, func(s *spec) { s.tos = 1 }), "[2 1 1]"},
		"flow label":             {with(tcp6, 2, func(s *spec) { s.label = 1 }), "[2 1 1]"},
		"TTL":                    {with(tcp, 2, func(s *spec) { s.ttl = 1 }), "[2 1 1]"},
		"hop limit":              {with(udp6, 2, func(s *spec) { s.ttl = 1 }), "[2 1 1]"},
		"ID jumps":               {with(tcp, 2, func(s *spec) { s.id = 7 }), "[2 1 1]"},
		"ID stays":               {with(with(tcp, 1, sameID), 2, sameID), "[3 1]"},
		"ID stays late":          {with(tcp, 2, func(s *spec) { s.id = 0 }), "[2 1 1]"},
		"ID stays, may fragment": {[]spec{{payload: tcp[0].payload}, {payload: tcp[0].payload, seq: 100}}, "[1 1]"},
		"DF differs":             {with(tcp, 2, func(s *spec) { s.fragment = 0 }), "[2 1 1]"},
		"acknowledgment":         {with(tcp, 2, func(s *spec) { s.ack = 1 }), "[2 1 1]"},
		"window":                 {with(tcp, 2, func(s *spec) { s.window = 1 }), "[2 1 1]"},
		"options":                {with(tcp, 2, func(s *spec) { s.options = make([]byte, 4) }), "[2 1 1]"},
		"PSH":                    {with(tcp, 1, flags(flagACK|flagPSH)), "[2 2]"},
		"PSH first":              {with(tcp, 0, flags(flagACK|flagPSH)), "[1 3]"},
		"FIN":                    {with(tcp, 3, flags(flagACK|flagFIN)), "[4]"},
		"SYN":                    {with(tcp, 0, flags(2)), "[1 3]"},
		"RST":                    {with(tcp, 2, flags(flagACK|4)), "[2 1 1]"},
		"URG":                    {with(tcp, 2, flags(flagACK|32)), "[2 1 1]"},
		"ECE":                    {with(tcp, 2, flags(flagACK|flagECE)), "[2 1 1]"},
		"CWR":                    {with(tcp, 2, flags(flagACK|flagCWR)), "[2 1 1]"},
		"no ACK":                 {with(tcp, 2, flags(flagPSH)), "[2 1 1]"},
		"pure ACK":               {with(tcp, 2, func(s *spec) { s.payload = nil }), "[2 1 1]"},
		"short":                  {with(tcp, 2, func(s *spec) { s.payload = s.payload[:9] }), "[3 1]"},
		"long":                   {with(udp, 2, func(s *spec) { s.payload = make([]byte, 200) }), "[2 2]"},
		"fragment":               {with(udp, 2, func(s *spec) { s.fragment = 0x2000 }), "[2 1 1]"},
		"IPv4 options":           {with(tcp, 2, func(s *spec) { s.ipOptions = make([]byte, 4) }), "[2 1 1]"},
		"extensions":             {with(tcp6, 2, func(s *spec) { s.extensions = make([]byte, 6) }), "[2 1 1]"},
		"fragment of others": {append(slices.Clone(tcp[:2]),
			spec{flow: 3, fragment: 0x2000}, tcp[2]), "[3 1]"},
		"no checksum": {with(udp, 2, func(s *spec) { s.noChecksum = true }), "[2 1 1]"},
		"UDP at most": {stream(spec{udp: true}, 66, 10), "[64 2]"},
		"64 KiB":      {stream(spec{v6: true}, 48, 1400), "[46 2]"},
	} {
		bufs := packets(tc.in)
		c := Coalescer{UDP: true}
		var sizes []int
		for _, r := range c.Runs(bufs, 0) {
			sizes = append(sizes, len(r.Packets))
		}
		if got := fmt.Sprint(sizes); got != tc.want {
			t.Errorf("%s: runs of %s, want %s", name, got, tc.want)
		}
		verify(t, name, bufs, &c)
	}
	c := Coalescer{}
	if n := len(c.Runs(packets(udp), 0)); n != len(udp) {
		t.Errorf("without UDP: %d runs", n)
	}
	if n := len(c.Runs(packets([]spec{tcp[0], udp[0], tcp[1]}), 0)); n != 2 {
		t.Errorf("TCP around UDP that is not joined: %d runs", n)
	}
}

func sameID(s *spec)             { s.id = 0xffff }
func flags(f byte) func(s *spec) { return func(s *spec) { s.flags = f } }
func packets(in []spec) [][]byte { return apply(in, spec.packet) }

func apply[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}

// verify checks that every packet is in one run, that flows keep their order,
// and that the reference split of each run gives its packets back.
func verify(t *testing.T, name string, bufs [][]byte, c *Coalescer) {
	t.Helper()
	const offset = 16
	work := apply(bufs, func(p []byte) []byte { return append(make([]byte, offset), p...) })
	seen := make([]bool, len(bufs))
	latest := map[string]int{}
	for _, r := range c.Runs(work, offset) {
		if len(r.Packets) == 0 || !slices.IsSorted(r.Packets) {
			t.Fatalf("%s: packets %v in a run", name, r.Packets)
		}
		for _, i := range r.Packets {
			if seen[i] {
				t.Fatalf("%s: packet %d twice", name, i)
			}
			seen[i] = true
			if l, ok := Parse(bufs[i]); ok {
				if before, ok := latest[flowOf(bufs[i], l)]; ok && before > i {
					t.Fatalf("%s: packet %d after %d", name, i, before)
				}
				latest[flowOf(bufs[i], l)] = i
			}
		}
		r.Seal(work[r.Packets[0]][offset:])
		giveBack(t, name, bufs, work, &r)
	}
	if slices.Contains(seen, false) {
		t.Fatalf("%s: a packet is missing", name)
	}
}

func flowOf(p []byte, l Layout) string {
	if l.IPv6 {
		return string(p[8:44]) + string(l.Protocol)
	}
	return string(p[12:24]) + string(l.Protocol)
}

// giveBack splits the super-packet of a sealed run, and compares the packets with
// those of the run.
func giveBack(t *testing.T, name string, bufs, work [][]byte, r *Run) {
	t.Helper()
	const offset = 16
	super := slices.Clone(work[r.Packets[0]][offset:])
	if len(r.Packets) == 1 {
		if !bytes.Equal(super, bufs[r.Packets[0]]) {
			t.Fatalf("%s: a single packet changed", name)
		}
		return
	}
	for _, i := range r.Packets[1:] {
		super = append(super, work[i][offset+r.Layout.Header:]...)
	}
	if got := slices.Clone(super); len(super) != r.Size || len(super) > MaxPacket {
		t.Fatalf("%s: %d bytes, announced %d", name, len(super), r.Size)
	} else if partial(got, r.Layout); !bytes.Equal(got, super) {
		t.Fatalf("%s: the checksum field is not the pseudo-header's sum", name)
	}
	for n, p := range split(super, r.Layout, r.Segment) {
		want := slices.Clone(bufs[r.Packets[n]])
		if r.fixedID {
			copy(want[4:6], p[4:6])
		}
		fix(want, r.Layout) // inner checksums may have been wrong
		if !bytes.Equal(p, want) {
			t.Fatalf("%s: packet %d of %d:\n%x\nwant\n%x", name, n, len(r.Packets), p, want)
		}
	}
}

// TestRandomStreams mixes flows, sizes, losses, flags and odd packets.
func TestRandomStreams(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	c := Coalescer{UDP: true}
	joined := 0
	for range 300 {
		var flows []spec
		for f := range 1 + r.IntN(5) {
			flows = append(flows, spec{
				v6: f%2 == 0, udp: f%3 == 2, flow: byte(f), seq: r.Uint32(), id: uint16(r.Uint32()), fragment: 0x4000,
			})
		}
		size := 1 + r.IntN(1400)
		var bufs [][]byte
		for range 1 + r.IntN(MaxBatch) {
			f := &flows[r.IntN(len(flows))]
			s := *f
			s.payload = random(r, size)
			switch r.IntN(30) {
			case 0:
				s.payload = random(r, r.IntN(2*size))
			case 1:
				s.flags = flagACK | byte(1<<r.IntN(8))
			case 2:
				f.seq += uint32(r.IntN(2) * size)
			case 3:
				s.fragment = 0x2000
			case 4:
				s.ack++
			}
			f.seq += uint32(len(s.payload))
			f.id++
			bufs = append(bufs, s.packet())
		}
		verify(t, "random", bufs, &c)
		joined += len(bufs) - len(c.Runs(bufs, 0))
	}
	if joined < 10000 {
		t.Errorf("only %d packets were joined", joined)
	}
}

// FuzzCoalesce takes packets of any content. The first byte of each chunk of data is
// its length, or repeats the packet before with the next sequence number.
func FuzzCoalesce(f *testing.F) {
	for _, s := range [][]spec{stream(spec{}, 3, 50), stream(spec{v6: true, udp: true}, 3, 50)} {
		var data []byte
		for _, p := range packets(s) {
			data = append(append(data, byte(len(p))), p...)
		}
		f.Add(append(data, 1, 2, 3))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var bufs [][]byte
		for len(data) > 0 && len(bufs) < MaxBatch {
			n := min(int(data[0]), len(data)-1)
			bufs = append(bufs, data[1:1+n:1+n])
			data = data[1+n:]
		}
		verify(t, "fuzz", bufs, &Coalescer{UDP: true})
	})
}

func TestCoalescerAllocatesNothing(t *testing.T) {
	bufs := packets(append(stream(spec{}, 60, 1400), stream(spec{v6: true}, 60, 1400)...))
	c := Coalescer{UDP: true}
	if n := testing.AllocsPerRun(10, func() {
		for _, r := range c.Runs(bufs, 0) {
			r.Seal(bufs[r.Packets[0]])
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCoalescer(b *testing.B) {
	one := packets(stream(spec{v6: true, options: make([]byte, 12)}, MaxBatch, 1348))
	var many [][]byte
	for f := range MaxBatch {
		many = append(many, spec{v6: true, flow: byte(f), payload: make([]byte, 100)}.packet())
	}
	four := apply(make([]int, MaxBatch), func(int) []byte { return nil })
	for i := range four {
		four[i] = stream(spec{v6: true, flow: byte(i % 4)}, i/4+1, 1348)[i/4].packet()
	}
	for name, bufs := range map[string][][]byte{"1 flow": one, "4 flows": four, "128 flows": many} {
		b.Run(name, func(b *testing.B) {
			var c Coalescer
			b.ReportAllocs()
			for b.Loop() {
				c.Runs(bufs, 0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(bufs)), "ns/packet")
		})
	}
}

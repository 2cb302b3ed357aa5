package offload

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestChecksum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	data := random(r, 70000)
	for _, n := range []int{0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 65, 127, 1399, 1400, 1401, 65535, 70000} {
		for _, b := range [][]byte{data[:n], bytes.Repeat([]byte{0xff}, n), make([]byte, n)} {
			want := slowSum(b)
			if got := Fold(Checksum(b, 0)); got != want {
				t.Errorf("%d bytes: %#x, want %#x", n, got, want)
			}
			if got := Fold(words32(b)); got != Fold(words(b)) {
				t.Errorf("%d bytes: in 32-bit words %#x, in 64-bit words %#x", n, got, Fold(words(b)))
			}
			if got, want := Fold(Checksum(b[n/2&^1:], Checksum(b[:n/2&^1], 7))), Fold(uint64(want)+7); got != want {
				t.Errorf("%d bytes in two pieces: %#x, want %#x", n, got, want)
			}
		}
	}
	if got := Fold(1<<64 - 1); got != 0xffff {
		t.Errorf("largest sum folds to %#x", got)
	}
}

func TestParse(t *testing.T) {
	body := []byte("payload")
	for name, tc := range map[string]struct {
		packet []byte
		want   Layout // zero: not parsed
	}{
		"TCP":              {spec{payload: body}.packet(), Layout{false, TCP, 20, 40}},
		"TCP options":      {spec{options: make([]byte, 12)}.packet(), Layout{false, TCP, 20, 52}},
		"TCP v6":           {spec{v6: true}.packet(), Layout{true, TCP, 40, 60}},
		"UDP":              {spec{udp: true}.packet(), Layout{false, UDP, 20, 28}},
		"UDP v6":           {spec{udp: true, v6: true, payload: body}.packet(), Layout{true, UDP, 40, 48}},
		"don't fragment":   {spec{fragment: 0x4000}.packet(), Layout{false, TCP, 20, 40}},
		"first fragment":   {spec{fragment: 0x2000}.packet(), Layout{}},
		"later fragment":   {spec{fragment: 0x0010}.packet(), Layout{}},
		"IPv4 options":     {spec{ipOptions: make([]byte, 4)}.packet(), Layout{}},
		"IPv6 extension":   {spec{v6: true, extensions: make([]byte, 6)}.packet(), Layout{}},
		"trailing bytes":   {append(spec{}.packet(), 0), Layout{}},
		"cut":              {spec{payload: body}.packet()[:46], Layout{}},
		"empty":            {nil, Layout{}},
		"ICMP":             {edit(spec{}.packet(), 9, 1), Layout{}},
		"TCP header short": {edit(spec{}.packet(), 32, 4<<4), Layout{}},
		"TCP header long":  {edit(spec{}.packet(), 32, 15<<4), Layout{}},
		"UDP length":       {edit(spec{udp: true}.packet(), 25, 9), Layout{}},
		"version":          {edit(spec{}.packet(), 0, 0x55), Layout{}},
	} {
		l, ok := Parse(tc.packet)
		if ok != (tc.want != Layout{}) || ok && l != tc.want {
			t.Errorf("%s: %+v, %v", name, l, ok)
		}
	}
}

func edit(p []byte, at int, value byte) []byte {
	p[at] = value
	return p
}

// supers are super-packets of every kind.
func supers() map[string]struct {
	spec
	segment int
} {
	r := rand.New(rand.NewPCG(3, 4))
	big := random(r, 60001)
	type super = struct {
		spec
		segment int
	}
	return map[string]super{
		"TCP":              {spec{payload: big, seq: 0xffffff00, id: 0xfffe, flags: flagACK | flagPSH}, 1400},
		"TCP v6":           {spec{v6: true, payload: big, flags: flagACK | flagFIN | flagPSH, label: 77}, 1360},
		"TCP exact":        {spec{payload: big[:2800], flags: flagACK | flagCWR | flagECE}, 1400},
		"TCP one":          {spec{payload: big[:100]}, 1400},
		"TCP none":         {spec{}, 1400},
		"TCP odd":          {spec{payload: big[:999], options: make([]byte, 12)}, 101},
		"UDP":              {spec{udp: true, payload: big[:12000]}, 1200},
		"UDP v6":           {spec{udp: true, v6: true, payload: big[:12001]}, 1200},
		"IPv4 options":     {spec{payload: big[:3000], ipOptions: []byte{7, 7, 4, 0, 0, 0, 0, 0}}, 1000},
		"IPv6 extension":   {spec{v6: true, payload: big[:3000], extensions: []byte{1, 4, 0, 0, 0, 0}}, 1000},
		"zero checksum":    {spec{udp: true, payload: make([]byte, 4)}, 2},
		"segment is zero":  {spec{payload: big[:10]}, 0},
		"many":             {spec{payload: big[:300]}, 1},
		"IPv6 UDP options": {spec{v6: true, udp: true, payload: big[:300], extensions: make([]byte, 14)}, 100},
	}
}

func TestSegmenter(t *testing.T) {
	for name, tc := range supers() {
		h, l := tc.header()
		super := append(h, tc.payload...)
		partial(super, l)
		segment := tc.segment
		if segment == 0 {
			segment = len(tc.payload)
		}
		want := split(super, l, segment)
		s := NewSegmenter(super[:l.Header], l, tc.segment, len(tc.payload))
		if s.Count() != len(want) {
			t.Errorf("%s: %d packets, want %d", name, s.Count(), len(want))
			continue
		}
		dst := make([]byte, 2*MaxPacket)
		for i := range want {
			n := copy(dst[l.Header:], tc.payload[i*tc.segment:][:s.Payload(i)])
			dst[l.Header+n] = 0xaa
			if n := s.Finish(dst, i); !bytes.Equal(dst[:n], want[i]) {
				t.Fatalf("%s: packet %d:\n%x\nwant\n%x", name, i, dst[:min(n, 100)], want[i][:min(len(want[i]), 100)])
			}
			if dst[l.Header+n] != 0xaa {
				t.Fatalf("%s: packet %d wrote behind its end", name, i)
			}
		}
	}
}

// partial sets the checksum field to the sum of the pseudo-header, as Linux does.
func partial(super []byte, l Layout) {
	t := super[l.Transport:]
	big.PutUint16(t[l.ChecksumOffset():], Fold(l.pseudo(super)+uint64(len(t))))
}

func TestSegmenterAllocatesNothing(t *testing.T) {
	h, l := spec{v6: true}.header()
	dst := make([]byte, 1500)
	if n := testing.AllocsPerRun(10, func() {
		s := NewSegmenter(h, l, 1400, 60000)
		for i := range s.Count() {
			s.Finish(dst, i)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzSegmenter(f *testing.F) {
	for _, tc := range supers() {
		f.Add(tc.packet()[:200%len(tc.packet())], uint16(tc.segment), uint16(3000))
	}
	f.Fuzz(func(t *testing.T, header []byte, segment, total uint16) {
		l, ok := Parse(header)
		if !ok || segment == 0 {
			return
		}
		super := append(append([]byte(nil), header[:l.Header]...), make([]byte, total)...)
		if len(super)-l.Transport > MaxPacket {
			return
		}
		want := split(super, l, int(segment))
		s := NewSegmenter(super[:l.Header], l, int(segment), int(total))
		dst := make([]byte, l.Header+int(segment)+1)
		for i := range s.Count() {
			if n := s.Finish(dst, i); !bytes.Equal(dst[:n], want[i]) {
				t.Fatalf("packet %d of %d differs", i, s.Count())
			}
		}
		if s.Count() != len(want) || dst[len(dst)-1] != 0 {
			t.Fatal("wrong count, or written behind the end")
		}
	})
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{20, 64, 1400, 65535} {
		data := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				Checksum(data, 0)
			}
		})
	}
}

func BenchmarkSegmenter(b *testing.B) {
	h, l := spec{v6: true, options: make([]byte, 12)}.header()
	dst := make([]byte, 1500)
	s := NewSegmenter(h, l, 1348, 45*1348)
	b.SetBytes(1420)
	b.ReportAllocs()
	for b.Loop() {
		s.Finish(dst, 7)
	}
}

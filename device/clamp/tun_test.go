package clamp

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/device/offload"
)

const testOffset = 16

// plane is a data plane whose packets are given.
type plane struct {
	tun.Device
	out     [][]byte // for Read
	written [][]byte
}

func (p *plane) Read(bufs [][]byte, sizes []int, offset int) (n int, _ error) {
	for n < min(len(bufs), len(p.out)) {
		sizes[n] = copy(bufs[n][offset:], p.out[n])
		n++
	}
	p.out = p.out[n:]
	return n, nil
}

func (p *plane) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		p.written = append(p.written, bytes.Clone(b[offset:]))
	}
	return len(bufs), nil
}

// readAll reads in batches of a size until nothing comes.
func readAll(t *TUN, batch int) (all [][]byte) {
	bufs, sizes := make([][]byte, batch), make([]int, batch)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	for {
		n, _ := t.Read(bufs, sizes, testOffset)
		if n == 0 {
			return all
		}
		for i, size := range sizes[:n] {
			all = append(all, bytes.Clone(bufs[i][testOffset:testOffset+size]))
		}
	}
}

// tcp returns a TCP packet with correct checksums.
func tcp(from, to string, flags byte, sequence uint32, options, payload []byte) []byte {
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	header, length := 20, tcpHeader+len(options)+len(payload)
	if src.Is6() {
		header = 40
	}
	b := make([]byte, header+length)
	if src.Is4() {
		b[0], b[6], b[8], b[9] = 0x45, 0x40, 64, protoTCP
		big.PutUint16(b[2:], uint16(len(b)))
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		big.PutUint16(b[10:], ^offload.Fold(offload.Checksum(b[:20], 0)))
	} else {
		b[0], b[6], b[7] = 0x60, protoTCP, 64
		big.PutUint16(b[4:], uint16(length))
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
	}
	s := b[header:]
	big.PutUint16(s, 1000)
	big.PutUint16(s[2:], 80)
	big.PutUint32(s[4:], sequence)
	s[12], s[13] = byte((tcpHeader+len(options))/4)<<4, flags
	copy(s[tcpHeader:], options)
	copy(s[tcpHeader+len(options):], payload)
	big.PutUint16(s[16:], ^offload.Fold(offload.Checksum(s, pseudo(b))))
	return b
}

// pseudo returns the sum of the pseudo-header of a TCP packet.
func pseudo(b []byte) uint64 {
	if b[0]>>4 == 4 {
		return offload.Checksum(b[12:20], uint64(len(b)-20)+protoTCP)
	}
	return offload.Checksum(b[8:40], uint64(len(b)-40)+protoTCP)
}

// sound reports whether a packet has correct lengths and checksums.
func sound(b []byte) bool {
	l, ok := offload.Parse(b)
	if !ok || !l.IPv6 && offload.Fold(offload.Checksum(b[:20], 0)) != 0xffff {
		return false
	}
	return offload.Fold(offload.Checksum(b[l.Transport:], pseudo(b))) == 0xffff
}

const (
	ack, push, fin = 1 << 4, 1 << 3, 1
	mssAt          = tcpHeader + 2 // of an option that is the first
)

var (
	mss1460    = []byte{optionMSS, 4, 1460 >> 8, 1460 & 255}
	oddMSS     = []byte{optionNOP, optionMSS, 4, 1460 >> 8, 1460 & 255, 0, 0, 0}
	timestamps = []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
)

// limits returns a table in which peers have one address of each family, and 10.2.0.0/16
// has no limit within 10.0.0.0/8, which has one.
func limits() *Table {
	t := &Table{}
	t.Add(netip.MustParsePrefix("fd00::2/128"), 1216)
	t.Add(netip.MustParsePrefix("10.0.0.0/8"), 1216)
	t.Add(netip.MustParsePrefix("10.2.0.0/16"), 0)
	t.Add(netip.MustParsePrefix("fd00::3/128"), 0)
	return t
}

func TestTable(t *testing.T) {
	table := limits()
	for addr, want := range map[string]int{
		"fd00::2": 1216, "fd00::3": 0, "fd00::4": 0, "10.1.2.3": 1216, "10.2.3.4": 0, "192.0.2.1": 0,
	} {
		if got := table.limit(netip.MustParseAddr(addr).AsSlice()); got != want {
			t.Errorf("%s: limit %d, want %d", addr, got, want)
		}
	}
}

// SYN packets of limited peers announce less in both directions. Nothing else changes, and
// checksums stay correct.
func TestMSS(t *testing.T) {
	for _, tt := range []struct {
		name     string
		near     string
		far      string
		flags    byte
		options  []byte
		at, want int // place and value of the MSS then
	}{
		{"IPv4", "192.0.2.1", "10.1.0.1", flagSYN, mss1460, mssAt, 1176},
		{"IPv6", "fd00::1", "fd00::2", flagSYN, mss1460, mssAt, 1156},
		{"SYN-ACK", "fd00::1", "fd00::2", flagSYN | ack, mss1460, mssAt, 1156},
		{"odd place", "fd00::1", "fd00::2", flagSYN, oddMSS, mssAt + 1, 1156},
		{"no limit", "fd00::1", "fd00::3", flagSYN, mss1460, mssAt, 1460},
		{"within a limit", "192.0.2.1", "10.2.0.1", flagSYN, mss1460, mssAt, 1460},
		{"no SYN", "fd00::1", "fd00::2", ack, mss1460, mssAt, 1460},
		{"small already", "fd00::1", "fd00::2", flagSYN, []byte{optionMSS, 4, 2, 0}, mssAt, 512},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent, came := tcp(tt.near, tt.far, tt.flags, 7, tt.options, nil), tcp(tt.far, tt.near, tt.flags, 7, tt.options, nil)
			p := &plane{out: [][]byte{sent}}
			tun := New(p)
			tun.Set(limits())
			got := readAll(tun, 8)
			if _, err := tun.Write([][]byte{append(make([]byte, testOffset), came...)}, testOffset); err != nil {
				t.Fatal(err)
			}
			got = append(got, p.written...)
			for i, want := range [][]byte{sent, came} {
				ip := len(want) - tcpHeader - len(tt.options)
				if len(got) != 2 || !sound(got[i]) {
					t.Fatalf("damaged: %x", got)
				}
				if mss := int(big.Uint16(got[i][ip+tt.at:])); mss != tt.want {
					t.Errorf("direction %d: MSS %d, want %d", i, mss, tt.want)
				}
				copy(got[i][ip+tt.at:], want[ip+tt.at:][:2])
				copy(got[i][ip+16:], want[ip+16:][:2])
				if !bytes.Equal(got[i], want) {
					t.Errorf("direction %d: more was changed", i)
				}
			}
		})
	}
}

// Options that make no sense are left alone.
func TestMSSOfStrangeOptions(t *testing.T) {
	for _, options := range [][]byte{
		{optionMSS, 3, 255, 0}, {optionMSS, 0, 0, 0}, {5, 255, 0, 0}, {1, 1, 1, optionMSS}, {0, optionMSS, 4, 255}, {3, 1, 2, 4},
	} {
		p := tcp("fd00::1", "fd00::2", flagSYN, 1, options, nil)
		want := bytes.Clone(p)
		tun := New(&plane{out: [][]byte{p}})
		tun.Set(limits())
		if got := readAll(tun, 1); len(got) != 1 || !bytes.Equal(got[0], want) {
			t.Errorf("%v became %x", options, got)
		}
	}
}

// Packets that are too large are cut. The streams stay the same, and packets keep their
// order, whatever the size of batches.
func TestCut(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for _, batch := range []int{1, 2, 3, 128} {
		var out [][]byte
		streams := map[string][]byte{}
		next := map[string]uint32{}
		for range 500 {
			i := chance.IntN(3)
			from, to := []string{"fd00::1", "192.0.2.1", "fd00::1"}[i], []string{"fd00::2", "10.1.0.1", "fd00::3"}[i]
			payload := make([]byte, 1+chance.IntN(1348))
			for j := range payload {
				payload[j] = byte(chance.Uint32())
			}
			out = append(out, tcp(from, to, ack|push, next[to], timestamps, payload))
			next[to] += uint32(len(payload))
			streams[to] = append(streams[to], payload...)
		}
		tun := New(&plane{out: out})
		tun.Set(limits())
		for i, b := range readAll(tun, batch) {
			l, ok := offload.Parse(b)
			to := netip.AddrFrom4([4]byte(b[16:20])).String()
			if l.IPv6 {
				to = netip.AddrFrom16([16]byte(b[24:40])).String()
			}
			switch payload := b[min(l.Header, len(b)):]; {
			case !ok || !sound(b):
				t.Fatalf("batches of %d: packet %d is damaged: %x", batch, i, b)
			case len(b) > 1216 && to != "fd00::3":
				t.Fatalf("batches of %d: packet %d has %d bytes", batch, i, len(b))
			case !bytes.HasPrefix(streams[to], payload):
				t.Fatalf("batches of %d: packet %d is not what comes next", batch, i)
			default:
				streams[to] = streams[to][len(payload):]
			}
		}
		for to, rest := range streams {
			if len(rest) > 0 {
				t.Errorf("batches of %d: %d bytes to %s are missing", batch, len(rest), to)
			}
		}
	}
}

// What can't be cut passes as it is: connections that begin or break, urgent data,
// fragments, IP options, and everything that is not TCP.
func TestNotCut(t *testing.T) {
	large := make([]byte, 1300)
	options := append(tcp("192.0.2.1", "10.1.0.1", ack, 1, nil, large), 0, 0, 0, 0)
	options[0] = 0x46
	fragment := tcp("192.0.2.1", "10.1.0.1", ack, 1, nil, large)
	fragment[6] = 0x20
	udp := tcp("fd00::1", "fd00::2", ack, 1, nil, large)
	udp[6] = offload.UDP
	all := [][]byte{
		tcp("fd00::1", "fd00::2", flagSYN, 1, nil, large), tcp("fd00::1", "fd00::2", flagRST, 1, nil, large),
		tcp("fd00::1", "fd00::2", ack|flagURG, 1, nil, large), options, fragment, udp, large,
		{0x60},
		{},
	}
	tun := New(&plane{out: all})
	tun.Set(limits())
	got := readAll(tun, 128)
	if len(got) != len(all) {
		t.Fatalf("%d packets, want %d", len(got), len(all))
	}
	for i := range all {
		if !bytes.Equal(got[i], all[i]) {
			t.Errorf("packet %d was changed", i)
		}
	}
}

// Senders of datagrams that are too large are told so, except where that has no effect.
func TestTell(t *testing.T) {
	udp := func(from, to string, size int) []byte {
		b := tcp(from, to, 0, 1, nil, make([]byte, size))
		if b[0]>>4 == 4 {
			b[9] = offload.UDP
		} else {
			b[6] = offload.UDP
		}
		return b
	}
	fragmentable := udp("192.0.2.1", "10.1.0.1", 1300)
	fragmentable[6] = 0
	icmp := udp("192.0.2.1", "10.1.0.1", 1300)
	icmp[9] = protoICMP
	icmp6 := udp("fd00::1", "fd00::5", 1300)
	icmp6[6] = protoICMPv6
	for _, tt := range []struct {
		name   string
		packet []byte
		mtu    int // that is told; 0: nothing is
	}{
		{"IPv4", udp("192.0.2.1", "10.1.0.1", 1300), 1216},
		{"IPv6", udp("fd00::1", "fd00::5", 1300), 1296},
		{"fits", udp("192.0.2.1", "10.1.0.1", 1100), 0},
		{"small", udp("192.0.2.1", "10.1.0.1", 100), 0},
		{"without DF", fragmentable, 0},
		{"IPv6 below 1280", udp("fd00::1", "fd00::2", 1300), 0},
		{"no limit", udp("fd00::1", "fd00::3", 1300), 0},
		{"ICMP", icmp, 0},
		{"ICMPv6", icmp6, 0},
	} {
		p := &plane{out: [][]byte{tt.packet, tt.packet}}
		table := limits()
		table.Add(netip.MustParsePrefix("fd00::5/128"), 1296)
		tun := New(p)
		tun.Set(table)
		if got := readAll(tun, 4); len(got) != 2 || !bytes.Equal(got[0], tt.packet) || !bytes.Equal(got[1], tt.packet) {
			t.Errorf("%s: the packets do not pass as they are", tt.name)
		}
		if len(p.written) != min(tt.mtu, 1) {
			t.Errorf("%s: %d messages, and not %d", tt.name, len(p.written), min(tt.mtu, 1))
			continue
		}
		if tt.mtu == 0 {
			continue
		}
		got, header := p.written[0], 20
		told := func(b []byte) int { return int(big.Uint16(b[26:])) }
		sum := offload.Checksum(got[20:], 0)
		from, to := got[12:16], got[16:20]
		wantFrom, wantTo := tt.packet[16:20], tt.packet[12:16]
		if got[0]>>4 == 6 {
			header = 40
			told = func(b []byte) int { return int(big.Uint32(b[44:])) }
			sum = offload.Checksum(got[8:40], uint64(len(got)-40)+protoICMPv6)
			sum = offload.Checksum(got[40:], sum)
			from, to, wantFrom, wantTo = got[8:24], got[24:40], tt.packet[24:40], tt.packet[8:24]
		} else if offload.Fold(offload.Checksum(got[:20], 0)) != 0xffff {
			t.Errorf("%s: wrong checksum of the header", tt.name)
		}
		if told(got) != tt.mtu || offload.Fold(sum) != 0xffff || !bytes.Equal(from, wantFrom) || !bytes.Equal(to, wantTo) || !bytes.Equal(got[header+8:], tt.packet[:quoted]) {
			t.Errorf("%s: message %x", tt.name, got)
		}
	}
}

// What waits when the limits end is delivered, and then nothing is touched any more.
func TestNoLimits(t *testing.T) {
	payload := make([]byte, 1300)
	p := &plane{out: [][]byte{tcp("fd00::1", "fd00::2", ack, 1, nil, payload)}}
	tun := New(p)
	tun.Set(limits())
	bufs, sizes := [][]byte{make([]byte, 2048)}, []int{0}
	if n, _ := tun.Read(bufs, sizes, testOffset); n != 1 || sizes[0] != 710 {
		t.Fatalf("%d packets, the first of %d bytes", n, sizes[0])
	}
	tun.Set(nil)
	p.out = [][]byte{tcp("fd00::1", "fd00::2", ack, 1, nil, payload)}
	if got := readAll(tun, 1); len(got) != 2 || len(got[0]) != 710 || len(got[1]) != 1360 {
		t.Errorf("%d packets, want the rest and a whole one", len(got))
	}
}

func FuzzTUN(f *testing.F) {
	f.Add(tcp("fd00::1", "fd00::2", flagSYN, 1, oddMSS, nil))
	f.Add(append([]byte{0x45, 0, 2, 88, 0, 0, 0x40, 0, 64, 17, 0, 0, 1, 2, 3, 4, 10, 1, 0, 1}, make([]byte, 1300)...))
	f.Add(tcp("192.0.2.1", "10.1.0.1", ack|fin, 1, timestamps, make([]byte, 1300)))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), 2000)]
		p := &plane{out: [][]byte{b}}
		tun := New(p)
		tun.Set(limits())
		total := 0
		for _, got := range readAll(tun, 2) {
			total += len(got)
		}
		if total < len(b) {
			t.Errorf("%d bytes of %d", total, len(b))
		}
		p.written = nil
		_, _ = tun.Write([][]byte{append(make([]byte, testOffset), b...)}, testOffset)
		if len(p.written) != 1 || len(p.written[0]) != len(b) {
			t.Error("a packet is missing")
		}
	})
}

// source is a data plane that gives the same batch again and again.
type source struct {
	tun.Device
	packet []byte
	ready  bool // it is in the buffers already
}

func (s *source) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for i := range bufs {
		if sizes[i] = len(s.packet); !s.ready {
			copy(bufs[i][offset:], s.packet)
		}
	}
	return len(bufs), nil
}

func (*source) Write(bufs [][]byte, _ int) (int, error) { return len(bufs), nil }

func testBatch(packet []byte) (bufs [][]byte, sizes []int) {
	const batch = 128
	for range batch {
		bufs = append(bufs, append(make([]byte, testOffset, 2048), packet...)[:2048])
	}
	return bufs, make([]int, batch)
}

func TestAllocs(t *testing.T) {
	for _, to := range []string{"fd00::2", "fd00::3"} {
		s := &source{packet: tcp("fd00::1", to, ack, 1, timestamps, make([]byte, 1348))}
		bufs, sizes := testBatch(s.packet)
		tun := New(s)
		tun.Set(limits())
		if n := testing.AllocsPerRun(100, func() {
			_, _ = tun.Read(bufs, sizes, testOffset)
			_, _ = tun.Write(bufs, testOffset)
		}); n != 0 {
			t.Errorf("to %s: %v allocations", to, n)
		}
	}
}

// BenchmarkRead measures batches of 128 packets: without any limit, with limits that do not
// concern them, with packets that fit, and with packets that are cut. The latter includes
// a copy of each.
func BenchmarkRead(b *testing.B) {
	for _, bb := range []struct {
		name   string
		to     string
		size   int
		limits *Table
	}{
		{"plain", "fd00::2", 1348, nil},
		{"other", "fd00::3", 1348, limits()},
		{"fits", "fd00::2", 1144, limits()},
		{"cut", "fd00::2", 1348, limits()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := &source{packet: tcp("fd00::1", bb.to, ack, 1, timestamps, make([]byte, bb.size)), ready: bb.name != "cut"}
			bufs, sizes := testBatch(s.packet)
			tun := New(s)
			tun.Set(bb.limits)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = tun.Read(bufs, sizes, testOffset)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(bufs)), "ns/packet")
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for name, table := range map[string]*Table{"plain": nil, "limited": limits()} {
		b.Run(name, func(b *testing.B) {
			packet := tcp("fd00::2", "fd00::1", ack, 1, timestamps, make([]byte, 1144))
			bufs, _ := testBatch(packet)
			for i := range bufs {
				bufs[i] = bufs[i][:testOffset+len(packet)]
			}
			tun := New(&source{})
			tun.Set(table)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = tun.Write(bufs, testOffset)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(bufs)), "ns/packet")
		})
	}
}

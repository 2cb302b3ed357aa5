package offload

import "bytes"

const (
	// MaxBatch is the largest number of packets in a batch.
	MaxBatch = 128
	// maxUDP is how many datagrams Linux accepts in one super-packet.
	maxUDP = 64
)

// Coalescer groups the packets of a batch into runs. Its zero value is ready for use
// and joins TCP segments.
type Coalescer struct {
	UDP bool // join datagrams, too

	runs  [MaxBatch]Run
	order [MaxBatch]int       // indices of packets, run by run
	runOf [MaxBatch]uint8     // the run of each packet
	flows [2 * MaxBatch]uint8 // a hash table: the latest run of a flow plus one; 0: free
}

// Run is a sequence of packets that make one super-packet, or a single packet.
type Run struct {
	Packets []int // indices into the batch, in order

	// The following fields have no meaning for a single packet.
	Layout  Layout
	Segment int // payload size of every packet but the last
	Size    int // of the super-packet: the headers once, and every payload

	count   int   // of packets
	flags   uint8 // TCP flags that only the last packet has
	closed  bool  // no more packets may join
	fixedID bool  // all packets have the same IPv4 identification
}

// Runs groups a batch of packets, which begin at offset in their buffers. Every
// packet is in exactly one run. Runs are in the order of their first packets, so
// packets of a flow keep their order. The result is valid until the next call.
func (c *Coalescer) Runs(bufs [][]byte, offset int) []Run {
	clear(c.flows[:])
	n := 0
	for i, buf := range bufs {
		packet := buf[min(offset, len(buf)):]
		l, ok := Parse(packet)
		run := n
		switch {
		case !ok:
			c.separate(packet, bufs, offset, n)
		case c.UDP || l.Protocol == TCP:
			flow := c.flow(packet, l, bufs, offset)
			if latest := int(*flow) - 1; latest >= 0 && c.runs[latest].join(packet, l, c.first(latest, bufs, offset)) {
				run = latest
			} else {
				*flow = uint8(n + 1)
			}
		}
		if run == n {
			c.runs[n] = start(packet, l, ok)
			c.order[n] = i // the run's first packet, until collect
			n++
		}
		c.runOf[i] = uint8(run)
	}
	return c.collect(n, len(bufs))
}

// collect sets the packets of n runs.
func (c *Coalescer) collect(n, packets int) []Run {
	at := 0
	for i := range c.runs[:n] {
		r := &c.runs[i]
		r.Packets = c.order[at : at : at+r.count]
		at += r.count
	}
	for i, run := range c.runOf[:packets] {
		r := &c.runs[run]
		r.Packets = append(r.Packets, i)
	}
	return c.runs[:n]
}

// first returns the first packet of a run.
func (c *Coalescer) first(run int, bufs [][]byte, offset int) []byte {
	return bufs[c.order[run]][offset:]
}

// flow returns the entry in c.flows of a packet's flow, which may be free.
func (c *Coalescer) flow(packet []byte, l Layout, bufs [][]byte, offset int) *uint8 {
	for h := hash(packet, l); ; h++ {
		flow := &c.flows[h%uint32(len(c.flows))]
		if *flow == 0 {
			return flow
		}
		latest := int(*flow) - 1
		if sameFlow(packet, c.first(latest, bufs, offset), l, c.runs[latest].Layout) {
			return flow
		}
	}
}

// separate keeps the order around a packet whose flow is not known, such as a
// fragment: it closes every run between the same addresses.
func (c *Coalescer) separate(packet []byte, bufs [][]byte, offset, n int) {
	var from, to int
	switch {
	case len(packet) >= ipv6Header && packet[0]>>4 == 6 && packet[6] != icmpv6:
		from, to = 8, 40
	case len(packet) >= ipv4Header && packet[0]>>4 == 4 && (packet[9] == TCP || packet[9] == UDP):
		from, to = 12, 20
	default:
		return
	}
	for i := range c.runs[:n] {
		if c.runs[i].closed {
			continue
		}
		first := c.first(i, bufs, offset)
		if first[0]>>4 == packet[0]>>4 && bytes.Equal(first[from:to], packet[from:to]) {
			c.runs[i].closed = true
		}
	}
}

// hash returns a hash of a packet's flow. A peer can choose flows with equal hashes.
// All it would gain is that MaxBatch flows are compared with each other.
func hash(packet []byte, l Layout) uint32 {
	h := big.Uint64(packet[12:])
	if l.IPv6 {
		h = big.Uint64(packet[16:]) ^ big.Uint64(packet[32:])*0x9e3779b97f4a7c15
	}
	h ^= uint64(big.Uint32(packet[l.Transport:])) << 16
	return uint32(h * 0x9e3779b97f4a7c15 >> 40)
}

// sameFlow reports whether two packets have the same addresses, protocol and ports.
func sameFlow(a, b []byte, la, lb Layout) bool {
	if la.IPv6 != lb.IPv6 || la.Protocol != lb.Protocol {
		return false
	}
	t := la.Transport
	if big.Uint32(a[t:]) != big.Uint32(b[t:]) { // ports
		return false
	}
	if la.IPv6 {
		return [32]byte(a[8:40]) == [32]byte(b[8:40])
	}
	return big.Uint64(a[12:]) == big.Uint64(b[12:])
}

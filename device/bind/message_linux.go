package bind

// message is a received message: datagrams of one sender, one after another.
type message struct {
	data    []byte // the datagrams that are not handed out yet
	segment int    // size of each datagram but the last, which may be smaller
	ep      *endpoint
}

// datagrams returns the number of datagrams that are not handed out yet.
func (m *message) datagrams() int {
	if len(m.data) == 0 {
		return 0
	}
	return (len(m.data) + m.segment - 1) / m.segment
}

// deal copies datagrams to bufs until it runs out of either, and returns how many
// bufs are filled. A datagram larger than its buffer is dropped.
func (m *message) deal(bufs [][]byte, sizes []int) (filled int) {
	for len(m.data) > 0 && filled < len(bufs) {
		n := min(m.segment, len(m.data))
		if n <= len(bufs[filled]) {
			sizes[filled] = copy(bufs[filled], m.data[:n])
			filled++
		}
		m.data = m.data[n:]
	}
	return filled
}

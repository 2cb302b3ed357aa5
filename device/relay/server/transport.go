package server

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay/turn"
)

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) }

// maxReadErrors is how often in a row a socket may fail that is not closed.
const maxReadErrors = 1000

// readErrors counts failures in a row. One of them is what an ICMP message said of one peer or
// client.
type readErrors int

// end reports whether an error ends the reading.
func (e *readErrors) end(err error) bool {
	if err == nil {
		*e = 0
		return false
	}
	*e++
	return isClosed(err) || *e > maxReadErrors
}

// single is a socket that moves datagrams one by one.
type single struct{ Socket }

// ReadBurst implements burst.Socket.
func (s single) ReadBurst(b []byte) (n, size int, from netip.AddrPort, err error) {
	n, from, err = s.ReadFromUDPAddrPort(b)
	return n, n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

// WriteBurst implements burst.Socket.
func (s single) WriteBurst(b []byte, size int, to netip.AddrPort) (err error) {
	for len(b) > 0 && err == nil {
		var first []byte
		first, b = burst.Cut(b, size)
		_, err = s.WriteToUDPAddrPort(first, to)
	}
	return err
}

// bursts returns a socket as one that moves bursts, if it can.
func bursts(s Socket) burst.Socket {
	if b, ok := s.(burst.Socket); ok {
		return b
	}
	return single{s}
}

// noDeadlines are those of a net.PacketConn, for which pion has no use.
type noDeadlines struct{}

// SetDeadline does nothing.
func (noDeadlines) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (noDeadlines) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (noDeadlines) SetWriteDeadline(time.Time) error { return nil }

// datagrams is a socket from which pion reads requests alone.
type datagrams struct {
	noDeadlines
	Socket
	bursts burst.Socket
	front  *front

	// The rest is that of pion's reader.
	buf, left []byte // what is left of a burst
	size      int
	from      netip.AddrPort
	out       outward
	errs      readErrors
}

func newDatagrams(s Socket, f *front) *datagrams {
	return &datagrams{Socket: s, bursts: bursts(s), front: f, buf: make([]byte, burst.Size), out: outward{run: burst.NewRun()}}
}

// ReadFrom returns the next request.
func (d *datagrams) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if n := d.take(b); n > 0 {
			return n, net.UDPAddrFromAddrPort(d.from), nil
		}
		n, size, from, err := d.bursts.ReadBurst(d.buf)
		if d.errs.end(err) {
			return 0, nil, err
		}
		if err == nil {
			d.left, d.size, d.from = d.buf[:n], size, from
		}
	}
}

// take relays what is left of a burst up to the next request, whose size it returns; 0 if there
// is none.
func (d *datagrams) take(b []byte) int {
	defer d.out.flush()
	now := time.Now()
	for len(d.left) > 0 {
		var first []byte
		first, d.left = burst.Cut(d.left, d.size)
		if len(first) < len(b) && d.front.take(first, d.from, now, &d.out) {
			return copy(b, first)
		}
	}
	return 0
}

// WriteTo sends an answer of pion's.
func (d *datagrams) WriteTo(b []byte, to net.Addr) (int, error) {
	if _, err := d.WriteToUDPAddrPort(withTime(b), addrPortOf(to)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// withTime adds this host's time to an answer that asks for credentials: those are valid by it.
func withTime(b []byte) []byte {
	var m turn.Message
	if !turn.Is(b) || turn.Parse(&m, b) != nil || m.Class != turn.Failure || m.Nonce == nil || m.Protected() {
		return b
	}
	return turn.AppendTime(slices.Clone(b), time.Now().Unix())
}

func (d *datagrams) writeFrames(run *burst.Run, to netip.AddrPort) {
	_ = d.bursts.WriteBurst(run.Bytes, run.Size, to) // as if it were lost
}

func (d *datagrams) stream() bool { return false }

// listener accepts a bounded number of connections.
type listener struct {
	net.Listener
	front *front
}

// acceptPause is how long to wait when no connection can be accepted, such as without free file
// descriptors.
const acceptPause = 100 * time.Millisecond

// Accept returns the next connection that may be served.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if isClosed(err) {
			return nil, err
		}
		if err != nil {
			<-time.After(acceptPause)
			continue
		}
		if st := l.front.newStream(conn); st != nil {
			return st, nil
		}
		_ = conn.Close()
	}
}

// newStream returns a connection as pion is to see it; nil if there are too many. It is called from
// one goroutine.
func (f *front) newStream(conn net.Conn) *stream {
	from := addrPortOf(conn.RemoteAddr())
	if !from.IsValid() || !f.makeRoom(from) {
		return nil
	}
	st := &stream{Conn: conn, front: f, frames: turn.NewFrameReader(conn), from: from, began: time.Now(), out: outward{run: burst.NewRun()}}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.streams[from] = st
	f.s.group.Add(1)
	return st
}

// makeRoom reports whether there may be one more connection. If all are taken, the oldest one that
// has no allocation ends for it: so strangers with many addresses keep no member out. A client
// that has connected to another address of this host from the same port is refused.
func (f *front) makeRoom(from netip.AddrPort) bool {
	f.mu.RLock()
	there, total, taken := 0, len(f.streams), f.streams[from] != nil
	var oldest *stream
	for at, st := range f.streams {
		if source(at.Addr()) == source(from.Addr()) {
			there++
		}
		if f.clients[at] == nil && (oldest == nil || st.began.Before(oldest.began)) {
			oldest = st
		}
	}
	f.mu.RUnlock()
	switch {
	case taken || there >= f.s.limits.StreamsPerSource:
		return false
	case total < f.s.limits.Streams:
		return true
	case oldest == nil:
		return false
	}
	_ = oldest.Close()
	return true
}

// Deadlines of a connection.
const (
	// untilAllocated is how long a client may take to get an allocation.
	untilAllocated = 30 * time.Second
	// untilRefreshed is longer than the longest lifetime.
	untilRefreshed = 65 * time.Minute
	untilWritten   = 10 * time.Second
)

// stream is a connection of which pion reads requests alone.
type stream struct {
	net.Conn
	front  *front
	frames *turn.FrameReader
	from   netip.AddrPort
	began  time.Time
	out    outward // of what is read
	closed bool    // guarded by the front's lock
}

// Read returns the next request. pion's buffer has room for any.
func (st *stream) Read(b []byte) (int, error) {
	for {
		if err := st.wait(); err != nil {
			return 0, err
		}
		frame, err := st.frames.Next()
		if err != nil {
			return 0, err
		}
		if st.front.take(frame, st.from, time.Now(), &st.out) {
			st.out.flush()
			return copy(b, frame), nil
		}
	}
}

// wait prepares to wait for a frame, if none is there. A handshake of TLS writes while it reads.
func (st *stream) wait() error {
	if st.frames.Ready() {
		return nil
	}
	st.out.flush()
	st.front.mu.RLock()
	defer st.front.mu.RUnlock()
	if st.front.clients[st.from] != nil {
		return st.SetReadDeadline(time.Now().Add(untilRefreshed))
	}
	return st.SetDeadline(st.began.Add(untilAllocated))
}

// Write sends an answer of pion's.
func (st *stream) Write(b []byte) (int, error) {
	if err := st.write(withTime(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// write writes a frame. A client that does not read is cut off.
func (st *stream) write(b []byte) error {
	if err := st.SetWriteDeadline(time.Now().Add(untilWritten)); err != nil {
		return err
	}
	_, err := st.Conn.Write(b)
	if err != nil {
		_ = st.Close()
	}
	return err
}

func (st *stream) writeFrames(run *burst.Run, _ netip.AddrPort) { _ = st.write(run.Bytes) }

func (st *stream) stream() bool { return true }

// Close closes the connection.
func (st *stream) Close() error {
	st.front.mu.Lock()
	first := !st.closed
	st.closed = true
	if first {
		delete(st.front.streams, st.from)
	}
	st.front.mu.Unlock()
	if first {
		st.front.s.group.Done()
	}
	return st.Conn.Close()
}

package relay

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
)

// world is relays in memory, and what is between them and a Set.
type world struct {
	t     *testing.T
	proxy *url.URL
	cert  tls.Certificate

	mu      sync.Mutex
	ways    map[string]state // by network and address; without one, dialing fails
	dials   []string
	open    map[net.Conn]string // connections that have an allocation, by way
	next    uint16
	refuses int            // the code of answers to allocations; 0: none
	home    string         // the way by which the peer is, and sends everything back; empty: any
	reached map[string]int // data of 64 bytes, by way
	frames  map[string]int // whatever is not data, by way
}

// state is that of a way.
type state int

const (
	answers state = iota + 1
	silent        // connects, and then answers nothing
	lossy         // like answers, but for each fifth request
)

func newWorld(t *testing.T) *world {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, ways: map[string]state{}, open: map[net.Conn]string{}, next: 40000,
		reached: map[string]int{}, frames: map[string]int{},
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}
}

// set makes ways answer, or be silent.
func (w *world) set(s state, ways ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, way := range ways {
		w.ways[way] = s
	}
}

func (w *world) state(way string) state {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ways[way]
}

// allocations returns the ways that have one, sorted.
func (w *world) allocations() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, way := range w.open {
		list = append(list, way)
	}
	slices.Sort(list)
	return list
}

func (w *world) dialed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.dials = nil }()
	return w.dials
}

func (w *world) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	way := network + " " + addr
	w.mu.Lock()
	w.dials = append(w.dials, way)
	w.mu.Unlock()
	if w.state(way) == 0 {
		return nil, fmt.Errorf("dial %s: no way there", way)
	}
	a, b := net.Pipe()
	go func() {
		defer b.Close()
		if w.proxy != nil && addr == w.proxy.Host {
			w.connect(b)
			return
		}
		w.serve(b, way)
	}()
	return a, nil
}

// connect is an HTTP proxy.
func (w *world) connect(b net.Conn) {
	head := make([]byte, 4096)
	n, _ := b.Read(head)
	to, _, _ := strings.Cut(strings.TrimPrefix(string(head[:n]), "CONNECT "), " ")
	_, _ = io.WriteString(b, "HTTP/1.1 200 OK\r\n\r\n")
	w.serve(b, "tcp "+to)
}

// serve is a relay. That by TCP has TLS, except on port 3478.
func (w *world) serve(c net.Conn, way string) {
	if strings.HasPrefix(way, "tcp") && !strings.HasSuffix(way, ":3478") {
		t := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{w.cert}, NextProtos: []string{"h2", "stun.turn"}})
		if w.state(way) != answers || t.Handshake() != nil {
			_, _ = io.Copy(io.Discard, c)
			return
		}
		if p := t.ConnectionState().NegotiatedProtocol; p != "stun.turn" {
			w.t.Errorf("the protocol within TLS is %q", p)
		}
		c = t
	}
	defer func() {
		w.mu.Lock()
		delete(w.open, c)
		w.mu.Unlock()
	}()
	frames := turn.NewFrameReader(c)
	for {
		frame, err := frames.Next()
		if err != nil {
			return
		}
		if _, data, ok := turn.ParseChannel(frame); ok && w.state(way) == answers && w.reach(way, data) { // the peer sends it back
			_, _ = c.Write(turn.AppendChannel(nil, turn.MinChannel, data, true))
		}
		var m turn.Message
		if w.passes(way) && turn.Is(frame) && turn.Parse(&m, frame) == nil && m.Class == turn.Request {
			_, _ = c.Write(w.answer(&m, c, way))
		}
	}
}

// reach counts data, and reports whether the peer is there.
func (w *world) reach(way string, data []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(data) == 64 {
		w.reached[way]++
	}
	return w.home == "" || w.home == way
}

// passes counts a request, and reports whether it is answered.
func (w *world) passes(way string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames[way]++
	return w.ways[way] == answers || w.ways[way] == lossy && w.frames[way]%5 > 0
}

// counts returns how many packets of data and how many requests came by a way.
func (w *world) counts(way string) (data, requests int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reached[way], w.frames[way]
}

// moveTo has the peer send by one way alone.
func (w *world) moveTo(way string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.home = way
}

func (w *world) answer(m *turn.Message, c net.Conn, way string) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := script{asked: map[int]int{}, answer: func(m *turn.Message) (int, bool) {
		if m.Method != turn.Allocate || w.refuses == 0 {
			return 0, true
		}
		return w.refuses, true
	}}
	if m.Method == turn.Allocate && m.Protected() && w.refuses == 0 {
		w.open[c] = way
		w.next++
	}
	s.relayed = netip.AddrPortFrom(relayed.Addr(), w.next)
	return s.reply(m)
}

// sockets are a device's. Nothing comes in by them but what is put into in.
type sockets struct {
	in         chan []byte
	handshakes mesh.Signal
	mu         sync.Mutex
	closed     chan struct{}
	sent       [][]byte
}

type socketEndpoint struct {
	conn.Endpoint
	at netip.AddrPort
}

func (e *socketEndpoint) DstToString() string { return e.at.String() }

func newSockets() *sockets {
	return &sockets{in: make(chan []byte), handshakes: mesh.NewSignal()}
}

var socketPeer = &socketEndpoint{at: netip.MustParseAddrPort("192.0.2.77:7")}

func (s *sockets) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	closed := make(chan struct{})
	s.closed = closed
	return []conn.ReceiveFunc{func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case b := <-s.in:
			sizes[0], eps[0] = copy(bufs[0], b), socketPeer
			return 1, nil
		case <-closed:
			return 0, net.ErrClosed
		}
	}}, port, nil
}

func (s *sockets) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		close(s.closed)
		s.closed = nil
	}
	return nil
}

func (s *sockets) Send(bufs [][]byte, ep conn.Endpoint) error {
	if _, ok := ep.(*socketEndpoint); !ok {
		return conn.ErrWrongEndpointType
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range bufs {
		s.sent = append(s.sent, slices.Clone(b))
	}
	return nil
}

func (s *sockets) ParseEndpoint(text string) (conn.Endpoint, error) {
	at, err := netip.ParseAddrPort(text)
	return &socketEndpoint{at: at}, err
}
func (s *sockets) SetMark(uint32) error        { return nil }
func (s *sockets) BatchSize() int              { return 1 }
func (s *sockets) Handshakes() <-chan struct{} { return s.handshakes }
func (s *sockets) Fragmented() []netip.Addr    { return nil }

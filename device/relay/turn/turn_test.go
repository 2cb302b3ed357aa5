package turn

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"testing"
	"testing/iotest"

	pion "github.com/pion/stun/v4"
)

var (
	peer4 = netip.MustParseAddrPort("192.0.2.1:4711")
	peer6 = netip.MustParseAddrPort("[2001:db8::1]:4711")
	auth  = Auth{Username: "user", Realm: []byte("realm"), Nonce: []byte("nonce"), Key: Key("user", "realm", "password")}
)

func TestRoundTrip(t *testing.T) {
	for _, peer := range []netip.AddrPort{peer4, peer6} {
		for _, method := range []int{Binding, Allocate, Refresh, Send, Data, CreatePermission, ChannelBind, 0xabc} {
			for _, class := range []int{Request, Indication, Success, Failure} {
				m := Begin([]byte("before"), method, class, ID{1, 2, 3})
				m.Transport()
				m.Family(Family6)
				m.Lifetime(600)
				m.Channel(MinChannel + 1)
				m.Peer(peer)
				m.Data([]byte("12345"))
				m.Sign(auth)
				b := m.Finish()[len("before"):]
				var got Message
				if err := Parse(&got, b); err != nil {
					t.Fatal(err)
				}
				if got.Method != method || got.Class != class || got.Peer != peer || got.Lifetime != 600 || got.Channel != MinChannel+1 ||
					string(got.Data) != "12345" || !got.HasData || string(got.Realm) != "realm" || string(got.Nonce) != "nonce" || got.ID != (ID{1, 2, 3}) {
					t.Fatalf("%x %x: %+v", method, class, got)
				}
				if !got.Authentic(auth.Key) || got.Authentic(Key("user", "realm", "other")) {
					t.Error("the signature is wrong")
				}
				b[len(b)-30] ^= 1
				if Parse(&got, b) == nil && got.Authentic(auth.Key) {
					t.Error("a changed message is authentic")
				}
			}
		}
	}
}

// What pion makes we read, and the other way round.
func TestAgreesWithPion(t *testing.T) {
	m := Begin(nil, CreatePermission, Request, ID{9})
	m.Peer(peer4)
	m.Sign(auth)
	theirs := &pion.Message{Raw: m.Finish()}
	if err := theirs.Decode(); err != nil {
		t.Fatal(err)
	}
	if err := pion.NewLongTermIntegrity("user", "realm", "password").Check(theirs); err != nil {
		t.Error(err)
	}
	if theirs.Type != pion.NewType(pion.MethodCreatePermission, pion.ClassRequest) {
		t.Errorf("type %v", theirs.Type)
	}
	built, err := pion.Build(pion.TransactionID, pion.NewType(pion.MethodAllocate, pion.ClassErrorResponse), pion.CodeStaleNonce,
		pion.NewRealm("realm"), pion.NewNonce("nonce"), pion.NewLongTermIntegrity("user", "realm", "password"), pion.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	var got Message
	if err := Parse(&got, built.Raw); err != nil {
		t.Fatal(err)
	}
	if got.Code != CodeStaleNonce || got.Class != Failure || got.Method != Allocate || !got.Authentic(auth.Key) {
		t.Errorf("read %+v", got)
	}
}

func TestChannelData(t *testing.T) {
	for size := range 9 {
		for _, stream := range []bool{false, true} {
			data := bytes.Repeat([]byte{7}, size)
			b := AppendChannel(nil, MinChannel+5, data, stream)
			number, got, ok := ParseChannel(b)
			if !ok || number != MinChannel+5 || !bytes.Equal(got, data) || stream && len(b)%4 != 0 {
				t.Errorf("%d bytes: %x", size, b)
			}
		}
	}
	for _, b := range [][]byte{nil, {0x40, 0, 0}, {0x40, 0, 0, 1}, {0x80, 0, 0, 0}, {4, 0, 0, 0}} {
		if _, _, ok := ParseChannel(b); ok {
			t.Errorf("%x is taken for channel data", b)
		}
	}
}

func stream() (all []byte, frames [][]byte) {
	for i := range 50 {
		m := Begin(nil, Data, Indication, ID{byte(i)})
		m.Data(make([]byte, i))
		frames = append(frames, m.Finish(), AppendChannel(nil, MinChannel, make([]byte, 37*i), true))
	}
	for _, f := range frames {
		all = append(all, f...)
	}
	return all, frames
}

func TestFrames(t *testing.T) {
	all, frames := stream()
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(all), "bytewise": iotest.OneByteReader(bytes.NewReader(all)), "halves": iotest.HalfReader(bytes.NewReader(all)),
		"with EOF": iotest.DataErrReader(bytes.NewReader(all)),
	} {
		f := NewFrameReader(r)
		for i, want := range frames {
			if got, err := f.Next(); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: frame %d is %x, %v", name, i, got, err)
			}
		}
		if _, err := f.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
	if _, err := NewFrameReader(bytes.NewReader(all[:len(all)-1])).Next(); err != nil {
		t.Error(err)
	}
	f := NewFrameReader(bytes.NewReader(frames[0][:10]))
	if _, err := f.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("in a frame: %v", err)
	}
	for _, b := range []string{"\x80ET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01", "\x40\x00\xff\xff", "\x00\x01\x00\x03\x21\x12\xa4\x42"} {
		if _, err := NewFrameReader(bytes.NewReader([]byte(b))).Next(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func TestAllocations(t *testing.T) {
	m := Begin(nil, Data, Indication, ID{})
	m.Peer(peer6)
	m.Data(make([]byte, 1400))
	b := m.Finish()
	var got Message
	out := make([]byte, 0, MaxMessage)
	if n := testing.AllocsPerRun(100, func() {
		if Parse(&got, b) != nil {
			t.Fatal("not read")
		}
		m := Begin(out, Send, Indication, got.ID)
		m.Peer(got.Peer)
		m.Data(got.Data)
		m.Finish()
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func FuzzParse(f *testing.F) {
	m := Begin(nil, Allocate, Success, ID{})
	m.Peer(peer4)
	m.Data([]byte("x"))
	m.Sign(auth)
	f.Add(m.Finish())
	f.Add([]byte("\x00\x01\x00\x00\x21\x12\xa4\x42123456789012"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		if Parse(&m, b) != nil {
			return
		}
		if len(m.Data)+len(m.Realm)+len(m.Nonce) > len(b) {
			t.Error("the message has more than its bytes")
		}
		m.Authentic(auth.Key)
		if m.Peer.IsValid() {
			again := Begin(nil, m.Method, m.Class, m.ID)
			again.Peer(m.Peer)
			var n Message
			if err := Parse(&n, again.Finish()); err != nil || n.Peer != m.Peer || n.Method != m.Method || n.Class != m.Class {
				t.Errorf("%+v became %+v: %v", m, n, err)
			}
		}
	})
}

// However a stream is cut, it has the same frames, and no more bytes than were put in.
func FuzzFrames(f *testing.F) {
	all, _ := stream()
	f.Add(all[:400])
	f.Add([]byte("\x40\x00\x00\x01a\x00\x00\x00\x40"))
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(r io.Reader) (frames []byte, err error) {
			fr := NewFrameReader(r)
			for {
				frame, err := fr.Next()
				if err != nil {
					return frames, err
				}
				if len(frame) == 0 || len(frame) > MaxMessage {
					t.Fatalf("a frame has %d bytes", len(frame))
				}
				frames = append(frames, frame...)
			}
		}
		one, err1 := read(bytes.NewReader(b))
		two, err2 := read(iotest.OneByteReader(bytes.NewReader(b)))
		if !bytes.Equal(one, two) || !bytes.HasPrefix(b, one) || (err1 == errFrame) != (err2 == errFrame) { //nolint:errorlint // as returned
			t.Errorf("%x became %x (%v) and %x (%v)", b, one, err1, two, err2)
		}
	})
}

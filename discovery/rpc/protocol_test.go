package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

const one = "\x00\x00\x00\x00\x03one"

// finish answers the request.
func (s *script) finish() { s.begin(); s.data(one); s.end() }

// word is a number as frames have it.
func word(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// setting is a payload of SETTINGS.
func setting(id uint16, value uint32) string {
	return string(binary.BigEndian.AppendUint16(nil, id)) + word(value)
}

// What a server does against HTTP/2 ends the connection, or the stream, with the code that
// it is told, and what it does within HTTP/2 does not matter.
func TestFrames(t *testing.T) {
	const connection, stream = "GOAWAY ", "RST_STREAM "
	for name, tc := range map[string]struct {
		play func(*script)
		told string // what the server is told; empty: the call succeeds
	}{
		"padding": {func(s *script) {
			_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: s.stream, BlockFragment: s.block(":status", "200", "content-type", "application/grpc"), EndHeaders: true, PadLength: 255, Priority: http2.PriorityParam{Weight: 7}})
			_ = s.WriteDataPadded(s.stream, false, []byte(one[:3]), make([]byte, 255))
			s.raw(dataFrame, padded, s.stream, "\x00"+one[3:])
			s.end()
		}, ""},
		"only padding":            {func(s *script) { s.begin(); s.raw(dataFrame, padded, s.stream, "\x02\x00\x00"); s.data(one); s.end() }, ""},
		"more padding than frame": {func(s *script) { s.begin(); s.raw(dataFrame, padded, s.stream, "\x03\x00\x00") }, connection + "PROTOCOL_ERROR"},
		"no length of padding":    {func(s *script) { s.begin(); s.raw(dataFrame, padded, s.stream, "") }, connection + "FRAME_SIZE_ERROR"},
		"padding of a header":     {func(s *script) { s.raw(headersFrame, padded|endHeaders, s.stream, "\x09\x88") }, connection + "PROTOCOL_ERROR"},
		"a cut priority":          {func(s *script) { s.raw(headersFrame, priority|endHeaders, s.stream, "\x00") }, connection + "PROTOCOL_ERROR"},
		"some empty data":         {func(s *script) { s.begin(); s.data(""); s.data(""); s.data(one); s.end() }, ""},
		"unknown frames":          {func(s *script) { s.raw(0xee, 0xff, 77, "x"); s.raw(0x2, 0, 5, "12345"); s.finish() }, ""},
		"unknown settings":        {func(s *script) { s.raw(settingsFrame, 0, 0, setting(0xeeee, 1)+setting(0x6, 1)); s.finish() }, ""},
		"interim answers":         {func(s *script) { s.header(false, ":status", "103", "link", "x"); s.finish() }, ""},
		"a header in many parts": {func(s *script) {
			s.parts(s.block(":status", "200", "content-type", "application/grpc"), 3)
			s.data(one)
			s.end()
		}, ""},
		"a ping":                    {func(s *script) { _ = s.WritePing(false, [8]byte{1}); s.finish() }, ""},
		"an answer to no ping":      {func(s *script) { _ = s.WritePing(true, [8]byte{1}); s.finish() }, ""},
		"a reset after the end":     {func(s *script) { s.finish(); s.raw(resetFrame, 0, s.stream, word(8)); s.data("late") }, ""},
		"a window after the end":    {func(s *script) { s.finish(); s.raw(windowFrame, 0, s.stream, word(8)) }, ""},
		"going away":                {func(s *script) { _ = s.WriteGoAway(s.stream, http2.ErrCodeNo, nil); s.finish() }, ""},
		"a small table of fields":   {func(s *script) { s.raw(settingsFrame, 0, 0, setting(settingTableSize, 0)); s.finish() }, ""},
		"the largest window":        {func(s *script) { s.raw(settingsFrame, 0, 0, setting(settingWindow, maxWindow)); s.finish() }, ""},
		"settings with a cut entry": {func(s *script) { s.raw(settingsFrame, 0, 0, "12345") }, connection + "FRAME_SIZE_ERROR"},
		"settings of a stream":      {func(s *script) { s.raw(settingsFrame, 0, 1, "") }, connection + "PROTOCOL_ERROR"},
		"an answer with settings":   {func(s *script) { s.raw(settingsFrame, ack, 0, setting(settingWindow, 1)) }, connection + "FRAME_SIZE_ERROR"},
		"push":                      {func(s *script) { s.raw(settingsFrame, 0, 0, setting(settingPush, 1)) }, connection + "PROTOCOL_ERROR"},
		"a window of 2^31":          {func(s *script) { s.raw(settingsFrame, 0, 0, setting(settingWindow, 1<<31)) }, connection + "FLOW_CONTROL_ERROR"},
		"short frames":              {func(s *script) { s.raw(settingsFrame, 0, 0, setting(settingFrameSize, 1<<14-1)) }, connection + "PROTOCOL_ERROR"},
		"endless frames":            {func(s *script) { s.raw(settingsFrame, 0, 0, setting(settingFrameSize, 1<<24)) }, connection + "PROTOCOL_ERROR"},
		"a short ping":              {func(s *script) { s.raw(pingFrame, 0, 0, "1234567") }, connection + "FRAME_SIZE_ERROR"},
		"a ping of a stream":        {func(s *script) { s.raw(pingFrame, 0, 1, "12345678") }, connection + "PROTOCOL_ERROR"},
		"a short going away":        {func(s *script) { s.raw(goAwayFrame, 0, 0, "1234567") }, connection + "FRAME_SIZE_ERROR"},
		"going away from a stream":  {func(s *script) { s.raw(goAwayFrame, 0, 1, "12345678") }, connection + "PROTOCOL_ERROR"},
		"a short reset":             {func(s *script) { s.raw(resetFrame, 0, s.stream, "123") }, connection + "FRAME_SIZE_ERROR"},
		"a reset of no stream":      {func(s *script) { s.raw(resetFrame, 0, 0, word(1)) }, connection + "PROTOCOL_ERROR"},
		"a short window update":     {func(s *script) { s.raw(windowFrame, 0, 0, "123") }, connection + "FRAME_SIZE_ERROR"},
		"an empty window update":    {func(s *script) { s.raw(windowFrame, 0, 0, word(0)) }, connection + "PROTOCOL_ERROR"},
		"an empty one of a stream":  {func(s *script) { s.begin(); s.raw(windowFrame, 0, s.stream, word(1<<31)) }, stream + "PROTOCOL_ERROR"},
		"too large a window":        {func(s *script) { s.raw(windowFrame, 0, 0, word(maxWindow)) }, connection + "FLOW_CONTROL_ERROR"},
		"too large a stream's":      {func(s *script) { s.begin(); s.raw(windowFrame, 0, s.stream, word(maxWindow)) }, stream + "FLOW_CONTROL_ERROR"},
		"large windows by settings": {func(s *script) {
			s.raw(windowFrame, 0, s.stream, word(100))
			s.raw(settingsFrame, 0, 0, setting(settingWindow, maxWindow))
		}, connection + "FLOW_CONTROL_ERROR"},
		"too long a frame":         {func(s *script) { s.raw(0xee, 0, 0, strings.Repeat("x", maxFrame+1)) }, connection + "FRAME_SIZE_ERROR"},
		"data of no stream":        {func(s *script) { s.raw(dataFrame, 0, 0, "x") }, connection + "PROTOCOL_ERROR"},
		"data of a stream to come": {func(s *script) { s.raw(dataFrame, 0, s.stream+2, "x") }, connection + "PROTOCOL_ERROR"},
		"data of the server's":     {func(s *script) { s.raw(dataFrame, 0, 2, "x") }, connection + "PROTOCOL_ERROR"},
		"a header of one to come":  {func(s *script) { s.raw(headersFrame, endHeaders, s.stream+2, "\x88") }, connection + "PROTOCOL_ERROR"},
		"a reset of one to come":   {func(s *script) { s.raw(resetFrame, 0, s.stream+2, word(1)) }, connection + "PROTOCOL_ERROR"},
		"a window of one to come":  {func(s *script) { s.raw(windowFrame, 0, s.stream+2, word(1)) }, connection + "PROTOCOL_ERROR"},
		"a lone continuation":      {func(s *script) { s.raw(continuationFrame, endHeaders, s.stream, "\x88") }, connection + "PROTOCOL_ERROR"},
		"a ping within a header":   {func(s *script) { s.raw(headersFrame, 0, s.stream, "\x88"); _ = s.WritePing(false, [8]byte{}) }, connection + "PROTOCOL_ERROR"},
		"another's continuation": {func(s *script) {
			s.raw(headersFrame, 0, s.stream, "\x88")
			s.raw(continuationFrame, endHeaders, s.stream+2, "")
		}, connection + "PROTOCOL_ERROR"},
		"a flood of empty parts": {func(s *script) {
			s.raw(headersFrame, 0, s.stream, "\x88")
			s.repeat(1e6, continuationFrame, 0, s.stream, "")
		}, connection + "ENHANCE_YOUR_CALM"},
		"a flood of parts": {func(s *script) {
			s.raw(headersFrame, 0, s.stream, "\x88")
			s.repeat(1e6, continuationFrame, 0, s.stream, strings.Repeat("\x88", 1000))
		}, connection + "ENHANCE_YOUR_CALM"},
		"a flood of pings":           {func(s *script) { s.repeat(1e6, pingFrame, 0, 0, "12345678") }, connection + "ENHANCE_YOUR_CALM"},
		"a flood of settings":        {func(s *script) { s.repeat(1e6, settingsFrame, 0, 0, "") }, connection + "ENHANCE_YOUR_CALM"},
		"a flood of empty data":      {func(s *script) { s.begin(); s.repeat(1e6, dataFrame, 0, s.stream, "") }, connection + "ENHANCE_YOUR_CALM"},
		"a flood of padding":         {func(s *script) { s.begin(); s.repeat(1e6, dataFrame, padded, s.stream, "\x01\x00") }, connection + "ENHANCE_YOUR_CALM"},
		"a flood of unknown frames":  {func(s *script) { s.repeat(1e6, 0xee, 0, 0, "") }, connection + "ENHANCE_YOUR_CALM"},
		"a flood of going away":      {func(s *script) { s.repeat(1e6, goAwayFrame, 0, 0, word(9)+word(0)) }, connection + "ENHANCE_YOUR_CALM"},
		"a flood of interim answers": {func(s *script) { s.repeat(100, headersFrame, endHeaders, s.stream, string(s.block(":status", "103"))) }, stream + "PROTOCOL_ERROR"},
		"no HPACK":                   {func(s *script) { s.raw(headersFrame, endHeaders, s.stream, "\xff\xff\xff") }, connection + "COMPRESSION_ERROR"},
		"a cut header":               {func(s *script) { s.raw(headersFrame, endHeaders, s.stream, "\x40\x05ab") }, connection + "COMPRESSION_ERROR"},
		"a large table":              {func(s *script) { s.raw(headersFrame, endHeaders, s.stream, "\x3f\xe2\x1f\x88") }, connection + "COMPRESSION_ERROR"},
		"a large list":               {func(s *script) { s.header(false, append([]string{":status", "200"}, many("x", "y", 3000)...)...) }, stream + "PROTOCOL_ERROR"},
		"a bomb": {func(s *script) {
			s.raw(headersFrame, endHeaders, s.stream, "\x88\x40\x01x\x7f\xa1\x1e"+strings.Repeat("x", 4000)+strings.Repeat("\xbe", 10_000))
		}, stream + "PROTOCOL_ERROR"},
		"data before a header":    {func(s *script) { s.data(one) }, stream + "PROTOCOL_ERROR"},
		"two headers":             {func(s *script) { s.begin(); s.begin() }, stream + "PROTOCOL_ERROR"},
		"two statuses":            {func(s *script) { s.begin(); s.header(true, ":status", "200") }, stream + "PROTOCOL_ERROR"},
		"no HTTP status":          {func(s *script) { s.header(false, "content-type", "application/grpc") }, stream + "PROTOCOL_ERROR"},
		"two HTTP statuses":       {func(s *script) { s.header(false, ":status", "200", ":status", "200") }, stream + "PROTOCOL_ERROR"},
		"a late HTTP status":      {func(s *script) { s.header(false, "content-type", "application/grpc", ":status", "200") }, stream + "PROTOCOL_ERROR"},
		"a strange HTTP status":   {func(s *script) { s.header(false, ":status", "2OO") }, stream + "PROTOCOL_ERROR"},
		"a pseudo-header":         {func(s *script) { s.header(false, ":status", "200", ":path", "/") }, stream + "PROTOCOL_ERROR"},
		"capitals":                {func(s *script) { s.header(false, ":status", "200", "Content-Type", "application/grpc") }, stream + "PROTOCOL_ERROR"},
		"a name with a space":     {func(s *script) { s.header(false, ":status", "200", "a b", "c") }, stream + "PROTOCOL_ERROR"},
		"no name":                 {func(s *script) { s.header(false, ":status", "200", "", "c") }, stream + "PROTOCOL_ERROR"},
		"two lines in a value":    {func(s *script) { s.header(false, ":status", "200", "a", "b\r\nc") }, stream + "PROTOCOL_ERROR"},
		"an interim answer alone": {func(s *script) { s.header(true, ":status", "103") }, stream + "PROTOCOL_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			var got *script
			scripted(t, 0, func(s *script) { got = s; tc.play(s) }, func(t *testing.T, c *Conn) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				answer, err := c.Call(ctx, "/s/m", []byte("question"), 1024)
				synctest.Wait()
				switch {
				case tc.told == "" && (err != nil || string(answer) != "one"):
					t.Errorf("%q, %v", answer, err)
				case tc.told != "" && codeOf(err) != Unavailable:
					t.Errorf("error %v", err)
				case err != nil && len(err.Error()) > 500:
					t.Errorf("%d bytes of error", len(err.Error()))
				}
			})
			if told := strings.Join(got.told, ", "); told != tc.told {
				t.Errorf("the server was told %q, want %q", told, tc.told)
			}
		})
	}
}

// The first frame of a server must be its settings.
func TestNoSettings(t *testing.T) {
	against(t, 0, func(s *script) { _ = s.WritePing(false, [8]byte{}) }, func(t *testing.T, c *Conn) {
		if _, err := c.Call(t.Context(), "/s/m", nil, 10); codeOf(err) != Unavailable || !strings.Contains(err.Error(), "no settings first") {
			t.Errorf("%v", err)
		}
	})
}

// A server that goes away names the last stream that it answers.
func TestGoAwayLastStream(t *testing.T) {
	scripted(t, 0, func(s *script) {
		for s.stream < 5 { // the other two requests
			_ = s.next()
		}
		_ = s.WriteGoAway(3, http2.ErrCodeNo, []byte("maintenance"))
		for _, id := range []uint32{3, 1} {
			s.stream = id
			s.finish()
		}
	}, func(t *testing.T, c *Conn) {
		results := make(chan error)
		for range 3 {
			go func() {
				_, err := c.Call(t.Context(), "/s/m", nil, 10)
				results <- err
			}()
			synctest.Wait() // one after the other
		}
		failed := 0
		for range 3 {
			if err := <-results; err != nil {
				if failed++; codeOf(err) != Unavailable || !strings.Contains(err.Error(), `NO_ERROR ("maintenance")`) {
					t.Errorf("%v", err)
				}
			}
		}
		if failed != 1 {
			t.Errorf("%d calls failed", failed)
		}
		if _, err := c.Call(t.Context(), "/s/m", nil, 10); codeOf(err) != Unavailable {
			t.Errorf("a later call: %v", err)
		}
	})
}

// A server that has pings answered and reads nothing loses the connection.
func TestAnswersAreBounded(t *testing.T) {
	c := newConn(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	for n := 0; err == nil; n++ {
		if err = c.answer(appendPing(nil, ack, [8]byte{})); n > 20_000 {
			t.Fatal("no limit")
		}
	}
	if len(c.out) > outBuffer+maxAnswers || !strings.Contains(err.Error(), "ENHANCE_YOUR_CALM") {
		t.Errorf("%d bytes, %v", len(c.out), err)
	}
}

// A call whose context ends resets its stream, and the connection goes on.
func TestCancel(t *testing.T) {
	var got *script
	scripted(t, 0, func(s *script) { got = s; s.begin() }, func(t *testing.T, c *Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := c.Open(ctx, "/s/m", nil)
		if err != nil {
			t.Fatal(err)
		}
		cancel() // and nobody receives
		synctest.Wait()
		if fmt.Sprint(got.told) != "[RST_STREAM CANCEL]" {
			t.Errorf("the server was told %q", got.told)
		}
		if _, err := s.Receive(10); codeOf(err) != Canceled || !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		s.Close()
		if _, err := c.Open(ctx, "/s/m", nil); codeOf(err) != Canceled {
			t.Errorf("a call after its end: %v", err)
		}
	})
	if fmt.Sprint(got.told) != "[RST_STREAM CANCEL]" || got.frames[http2.FrameHeaders] != 0 {
		t.Errorf("the server was told %q, %v", got.told, got.frames)
	}
}

// Close ends calls, those that wait for their turn too.
func TestClose(t *testing.T) {
	scripted(t, 0, func(s *script) {
		_ = s.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	}, func(t *testing.T, c *Conn) {
		results := make(chan error)
		for range 3 {
			go func() {
				_, err := c.Call(t.Context(), "/s/m", nil, 10)
				results <- err
			}()
		}
		synctest.Wait()
		_ = c.Close()
		for range 3 {
			if err := <-results; codeOf(err) != Unavailable {
				t.Errorf("%v", err)
			}
		}
		if _, err := c.Open(t.Context(), "/s/m", nil); codeOf(err) != Unavailable {
			t.Errorf("a call after it: %v", err)
		}
	})
}

// A server that takes no byte loses the connection, and no call waits for it longer than
// its own time.
func TestServerThatDoesNotRead(t *testing.T) {
	scripted(t, 0, func(s *script) {
		s.raw(settingsFrame, 0, 0, setting(settingWindow, maxWindow))
		s.raw(windowFrame, 0, 0, word(1<<30))
		<-time.After(time.Hour)
	}, func(t *testing.T, c *Conn) {
		start := time.Now()
		go func() { _, _ = c.Call(t.Context(), "/s/m", nil, 10) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for i := 0; ; i++ {
			if _, err := c.Call(ctx, "/s/m", make([]byte, 60<<10), 10); codeOf(err) == DeadlineExceeded {
				if time.Since(start) != time.Second {
					t.Errorf("after %v: %v", time.Since(start), err)
				}
				break
			}
			if i == 1000 {
				t.Fatal("the server took 60 MB")
			}
		}
		s, err := c.Open(t.Context(), "/s/m", make([]byte, 1<<20))
		if codeOf(err) != Unavailable || time.Since(start) > 2*writeTimeout {
			t.Errorf("after %v: %v, %v", time.Since(start), s, err)
		}
	})
}

// A ping that is answered keeps a connection, whatever the server does in between.
func TestAnsweredPings(t *testing.T) {
	var got *script
	scripted(t, 10*time.Second, func(s *script) {
		got = s
		s.begin()
		for range 100 {
			f, err := s.ReadFrame()
			if err != nil {
				return
			}
			if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
				_ = s.WritePing(true, p.Data)
			}
		}
	}, func(t *testing.T, c *Conn) {
		s, err := c.Open(t.Context(), "/s/m", nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err = s.Receive(10); codeOf(err) != Unavailable || !strings.Contains(err.Error(), "does not answer a ping") {
			t.Errorf("%v", err)
		}
		if d := time.Since(start); d < 900*time.Second || d > 1100*time.Second {
			t.Errorf("after %v", d)
		}
	})
	if got == nil {
		t.Error("no request")
	}
}

// FuzzServer has a client talk to a server that sends arbitrary bytes.
func FuzzServer(f *testing.F) {
	start := string(appendFrame(nil, frame{0, settingsFrame, 0, 0}))
	part := func(kind, flags byte, stream uint32, payload string) string {
		return string(appendFrame(nil, frame{len(payload), kind, flags, stream})) + payload
	}
	head := part(headersFrame, endHeaders, 1, "\x88\x5f\x10application/grpc")
	f.Add([]byte(start + head + part(dataFrame, 0, 1, one) + part(headersFrame, endHeaders|endStream, 1, "\x00\x0bgrpc-status\x010")))
	f.Add([]byte(start + head + part(dataFrame, endStream|padded, 1, "\x01"+one+"\x00")))
	f.Add([]byte(start + part(headersFrame, 0, 1, "\x88") + part(continuationFrame, endHeaders, 1, "\x00\x0bgrpc-status\x017")))
	f.Add([]byte(start + part(settingsFrame, 0, 0, setting(settingWindow, 1)+setting(settingStreams, 0)) + part(pingFrame, 0, 0, "12345678")))
	f.Add([]byte(start + part(goAwayFrame, 0, 0, word(1)+word(11)+"calm") + part(resetFrame, 0, 1, word(7))))
	f.Add([]byte(start + head + part(windowFrame, 0, 0, word(100)) + part(windowFrame, 0, 1, word(maxWindow))))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := newConn(&memory{in: sent})
		c.scheme, c.address = "http", "a:1"
		c.start(time.Hour)
		s, err := c.Open(t.Context(), "/s/m", make([]byte, 100<<10))
		for total := 0; err == nil; {
			var b []byte
			if b, err = s.Receive(64); err != nil {
				s.Close()
				break
			}
			if total += len(b) + prefixSize; len(b) > 64 || total > len(sent) {
				t.Fatalf("%d bytes in a message", len(b))
			}
		}
		if !errors.Is(err, io.EOF) && codeOf(err) == OK {
			t.Fatalf("error %v", err)
		}
		_ = c.Close()
		if c.receiveWindow > connectionBuffer || c.sendWindow > maxWindow || len(c.streams) > 0 {
			t.Fatalf("windows %d, %d, streams %d", c.receiveWindow, c.sendWindow, len(c.streams))
		}
	})
}

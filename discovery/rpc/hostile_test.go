package rpc

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// Whatever a server answers ends in a bounded error that says what it was.
func TestStrangeAnswers(t *testing.T) {
	const one = "\x00\x00\x00\x00\x03one"
	for name, tc := range map[string]struct {
		play func(*script)
		code Code
		want string
	}{
		"good": {func(s *script) { s.begin(); s.data(one); s.end() }, OK, ""},
		"in pieces": {func(s *script) {
			s.begin()
			s.data("\x00\x00")
			s.data("\x00\x00\x03o")
			s.data("n")
			s.data("e")
			s.end()
		}, OK, ""},
		"a status alone": {func(s *script) {
			s.header(true, ":status", "200", "content-type", "application/grpc", "grpc-status", "7", "grpc-message", "not%20you%0A%zz%")
		}, PermissionDenied, "not you\n%zz%"},
		"a status at the end": {func(s *script) { s.begin(); s.header(true, "grpc-status", "8", "grpc-message", "full") }, ResourceExhausted, "full"},
		"a status after some": {func(s *script) {
			s.begin()
			s.data("\x00\x00\x00\x00\x09on")
			s.header(true, "grpc-status", "13", "grpc-message", "disk")
		}, Internal, "disk"},
		"an unknown status":    {func(s *script) { s.begin(); s.header(true, "grpc-status", "4294967295") }, Code(4294967295), "Code(4294967295)"},
		"no number as status":  {func(s *script) { s.begin(); s.header(true, "grpc-status", "fine") }, Unknown, `status "fine"`},
		"no status":            {func(s *script) { s.begin(); s.data(one); s.header(true, "x", "y") }, Internal, "without a status"},
		"no answer":            {func(s *script) { s.begin(); s.end() }, Internal, "no answer"},
		"two answers":          {func(s *script) { s.begin(); s.data(one + one); s.end() }, Internal, "more than one"},
		"endless answers":      {func(s *script) { s.begin(); s.data(strings.Repeat(one, 2000)) }, Internal, "more than one"},
		"a long answer":        {func(s *script) { s.begin(); s.data("\x00\xff\xff\xff\xff") }, ResourceExhausted, "the limit is 1024"},
		"over the limit":       {func(s *script) { s.begin(); s.data("\x00\x00\x00\x04\x01") }, ResourceExhausted, "a message has 1025 bytes, the limit is 1024"},
		"compressed":           {func(s *script) { s.begin(); s.data("\x01\x00\x00\x00\x03one"); s.end() }, Internal, "compressed"},
		"cut off":              {func(s *script) { s.begin(); s.data("\x00\x00\x00\x00\x09one"); s.end() }, Unavailable, "the server closed the connection"},
		"a cut prefix":         {func(s *script) { s.begin(); s.data("\x00\x00"); s.end() }, Unavailable, "the server closed the connection"},
		"closed":               {func(s *script) { _ = s.conn.Close() }, Unavailable, "the server closed the connection"},
		"closed in an answer":  {func(s *script) { s.begin(); s.data("\x00\x00\x00\x00\x09one"); _ = s.conn.Close() }, Unavailable, "the server closed the connection"},
		"a page":               {func(s *script) { s.header(false, ":status", "200", "content-type", "text/html"); s.data("<html>") }, Unknown, `"text/html", not gRPC`},
		"no such page":         {func(s *script) { s.header(true, ":status", "404") }, Unimplemented, "HTTP status 404 Not Found"},
		"a broken proxy":       {func(s *script) { s.header(true, ":status", "502", "content-type", "text/html") }, Unavailable, "HTTP status 502 Bad Gateway"},
		"a redirect":           {func(s *script) { s.header(true, ":status", "302", "location", "http://b:1/") }, Unknown, "HTTP status 302 Found"},
		"huge headers":         {func(s *script) { s.header(false, ":status", "200", "x", strings.Repeat("y", 1<<20)) }, Unavailable, ""},
		"many headers":         {func(s *script) { s.header(false, append([]string{":status", "200"}, many("x", "y", 3000)...)...) }, Unavailable, "header list larger"},
		"a reset":              {func(s *script) { _ = s.WriteRSTStream(s.stream, http2.ErrCodeRefusedStream) }, Unavailable, "REFUSED_STREAM"},
		"a reset in an answer": {func(s *script) { s.begin(); s.data("\x00"); _ = s.WriteRSTStream(s.stream, http2.ErrCodeInternal) }, Unavailable, "INTERNAL_ERROR"},
		"too many pings": {func(s *script) {
			_ = s.WriteGoAway(s.stream, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings"))
			_ = s.conn.Close()
		}, Unavailable, "ENHANCE_YOUR_CALM"},
		"HTTP/1.1": {func(s *script) {
			_, _ = io.WriteString(s.conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		}, Unavailable, "HTTP/1.1"},
		"a pushed page": {func(s *script) {
			_ = s.WritePushPromise(http2.PushPromiseParam{StreamID: s.stream, PromiseID: 2, EndHeaders: true})
		}, Unavailable, "PROTOCOL_ERROR"},
		"noise":                {func(s *script) { _, _ = s.conn.Write([]byte(strings.Repeat("\xff\xfe", 1000))) }, Unavailable, ""},
		"silence":              {func(*script) {}, DeadlineExceeded, ""},
		"silence in an answer": {func(s *script) { s.begin(); s.data("\x00\x00") }, DeadlineExceeded, ""},
	} {
		t.Run(name, func(t *testing.T) {
			scripted(t, 0, tc.play, func(t *testing.T, c *Conn) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				answer, err := c.Call(ctx, "/s/m", []byte("question"), 1024)
				switch {
				case tc.code == OK && (err != nil || string(answer) != "one"):
					t.Errorf("%q, %v", answer, err)
				case tc.code != OK && (codeOf(err) != tc.code || !strings.Contains(err.Error(), tc.want)):
					t.Errorf("%v, want %v with %q", err, tc.code, tc.want)
				case err != nil && len(err.Error()) > 500:
					t.Errorf("%d bytes of error", len(err.Error()))
				}
			})
		})
	}
}

func many(name, value string, n int) (fields []string) {
	for range n {
		fields = append(fields, name, value)
	}
	return fields
}

func TestRequest(t *testing.T) {
	var got *script
	scripted(t, 0, func(s *script) { got = s; s.begin(); s.data("\x00\x00\x00\x00\x00"); s.end() }, func(t *testing.T, c *Conn) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		if answer, err := c.Call(ctx, "/s/m", []byte("question"), 0); err != nil || len(answer) != 0 {
			t.Errorf("%q, %v", answer, err)
		}
	})
	for name, want := range map[string]string{
		":method": "POST", ":scheme": "http", ":path": "/s/m", ":authority": "a:1", "content-type": "application/grpc",
		"te": "trailers", "grpc-timeout": "90000m", "user-agent": userAgent, "accept-encoding": "",
	} {
		if have := got.request.Get(name); have != want {
			t.Errorf("%s: %q, want %q", name, have, want)
		}
	}
	if string(got.body) != "\x00\x00\x00\x00\x08question" {
		t.Errorf("body %q", got.body)
	}
}

func TestTimeout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "1m", 0: "1m", time.Nanosecond: "1m", time.Second: "1000m", 100 * time.Hour: "99999999m",
	} {
		if got := timeout(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

// A server from which nothing comes is pinged, and given up when it does not answer.
func TestDeadServer(t *testing.T) {
	var got *script
	scripted(t, 10*time.Second, func(s *script) { got = s; s.begin() }, func(t *testing.T, c *Conn) {
		s, err := c.Open(t.Context(), "/s/m", nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = s.Receive(10)
		if codeOf(err) != Unavailable || time.Since(start) != 30*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
	if got.frames[http2.FramePing] != 1 {
		t.Errorf("%d pings", got.frames[http2.FramePing])
	}
}

// What a server sends ahead is bounded by the window, however fast it writes.
func TestReceivedAhead(t *testing.T) {
	sent := 0
	scripted(t, 0, func(s *script) {
		s.begin()
		block := make([]byte, 16<<10)
		for {
			if sent += len(block); s.WriteData(s.stream, false, block) != nil {
				return
			}
		}
	}, func(t *testing.T, c *Conn) {
		s, err := c.Open(t.Context(), "/s/m", nil)
		if err != nil {
			t.Fatal(err)
		}
		// The script ignores the window, so the client ends the connection.
		<-time.After(time.Minute)
		for err == nil {
			_, err = s.Receive(10)
		}
		if codeOf(err) != Unavailable {
			t.Errorf("%v", err)
		}
	})
	if most := streamBuffer + 1<<18; sent > most {
		t.Errorf("%d bytes were taken, the limit is %d", sent, most)
	}
}

// The buffer of a large message is not kept for the next, and small ones share one.
func TestStreamBuffer(t *testing.T) {
	large := "\x00\x00\x02\x00\x00" + strings.Repeat("x", 128<<10)
	scripted(t, 0, func(s *script) {
		s.begin()
		for len(large) > 0 {
			n := min(len(large), 16<<10)
			s.data(large[:n])
			large = large[n:]
		}
		s.data("\x00\x00\x00\x00\x03one")
		s.data("\x00\x00\x00\x00\x03two")
		s.end()
	}, func(t *testing.T, c *Conn) {
		s, err := c.Open(t.Context(), "/s/m", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if b, err := s.Receive(1 << 20); err != nil || len(b) != 128<<10 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		one, err := s.Receive(3)
		if err != nil || string(one) != "one" || cap(one) > keptBuffer {
			t.Fatalf("%q of %d bytes, %v", one, cap(one), err)
		}
		two, err := s.Receive(3)
		if err != nil || string(two) != "two" || &one[0] != &two[0] {
			t.Fatalf("%q, %v", two, err)
		}
		if _, err := s.Receive(3); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	})
}

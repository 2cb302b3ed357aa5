package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// serving is a server on a unix socket.
type serving struct {
	*testing.T
	path string
	stop func() // returns when Serve has
}

func serve(t *testing.T, s Server) *serving {
	t.Helper()
	v := &serving{T: t, path: filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", v.path)
	if err != nil {
		t.Fatal(err)
	}
	if s.HeadTime == 0 {
		s.HeadTime = time.Minute
	}
	s.Log = hclog.NewNullLogger()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	v.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	t.Cleanup(v.stop)
	return v
}

func (v *serving) dial() *net.UnixConn {
	v.Helper()
	conn, err := net.Dial("unix", v.path)
	if err != nil {
		v.Fatal(err)
	}
	v.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.UnixConn)
}

// ask returns the whole answer to what is sent.
func (v *serving) ask(text string) string {
	v.Helper()
	conn := v.dial()
	if _, err := io.WriteString(conn, text); err != nil {
		v.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		v.Errorf("%.40q: %q, %v", text, answer, err)
	}
	return string(answer)
}

func hello(_ context.Context, w *Response, r *Request) { _, _ = fmt.Fprintf(w, "hello %s", r.Element) }

func TestServer(t *testing.T) {
	mux := Mux{
		"/get":   {MethodGet, hello},
		"/post":  {MethodPost, hello},
		"/some/": {MethodGet, hello},
		"/bad":   {MethodGet, func(_ context.Context, w *Response, _ *Request) { w.Type = "x/y"; w.Error("is bad", 422) }},
		"/late": {MethodGet, func(_ context.Context, w *Response, _ *Request) {
			_, _ = io.WriteString(w, "a")
			w.Error("too late", 500)
		}},
		"/none":  {MethodGet, func(context.Context, *Response, *Request) {}},
		"/panic": {MethodGet, func(context.Context, *Response, *Request) { panic("test") }},
	}
	v := serve(t, Server{Handler: mux.Serve})
	const plain = "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
	for request, want := range map[string]string{
		"GET /get HTTP/1.1":      "HTTP/1.1 200 OK\r\n" + plain + "\r\nhello ",
		"GET /get?x HTTP/1.0":    "HTTP/1.1 200 OK\r\n" + plain + "\r\nhello ",
		"HEAD /get HTTP/1.1":     "HTTP/1.1 200 OK\r\n" + plain + "\r\n",
		"POST /post HTTP/1.1":    "HTTP/1.1 200 OK\r\n" + plain + "\r\nhello ",
		"GET /some/a HTTP/1.1":   "HTTP/1.1 200 OK\r\n" + plain + "\r\nhello a",
		"GET /some HTTP/1.1":     "HTTP/1.1 404 Not Found\r\n" + plain + "\r\n404 page not found\n",
		"GET /some/ HTTP/1.1":    "HTTP/1.1 404 Not Found\r\n" + plain + "\r\n404 page not found\n",
		"GET /some/a/b HTTP/1.1": "HTTP/1.1 404 Not Found\r\n" + plain + "\r\n404 page not found\n",
		"GET / HTTP/1.1":         "HTTP/1.1 404 Not Found\r\n" + plain + "\r\n404 page not found\n",
		"GET /post HTTP/1.1":     "HTTP/1.1 405 Method Not Allowed\r\n" + plain + "Allow: POST\r\n\r\nMethod Not Allowed\n",
		"PUT /get HTTP/1.1":      "HTTP/1.1 405 Method Not Allowed\r\n" + plain + "Allow: GET, HEAD\r\n\r\nMethod Not Allowed\n",
		"GET /bad HTTP/1.1":      "HTTP/1.1 422 Unprocessable Content\r\n" + plain + "\r\nis bad\n",
		"HEAD /bad HTTP/1.1":     "HTTP/1.1 422 Unprocessable Content\r\n" + plain + "\r\n",
		"GET /late HTTP/1.1":     "HTTP/1.1 200 OK\r\n" + plain + "\r\na",
		"GET /none HTTP/1.1":     "HTTP/1.1 200 OK\r\n" + plain + "\r\n",
		"GET /panic HTTP/1.1":    "",
		"NONSENSE":               "HTTP/1.1 400 Bad Request\r\n" + plain + "\r\nmalformed request line \"NONSENSE\"\n",
	} {
		if got := v.ask(request + "\r\nHost: x\r\n\r\n"); got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
}

// A client reads the answer to a request that nobody has read to its end.
func TestServerAnswersLargeRequests(t *testing.T) {
	v := serve(t, Server{Handler: hello})
	for text, want := range map[string]string{
		"GET /" + strings.Repeat("x", 100<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n":                         "HTTP/1.1 431 ",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000):   "HTTP/1.1 413 ",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n":       "HTTP/1.1 501 ",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1000): "HTTP/1.1 200 ",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\n\r\n" + strings.Repeat("x", 4096):        "HTTP/1.1 200 ",
	} {
		if got := v.ask(text); !strings.HasPrefix(got, want) || strings.Count(got, "HTTP/1.1 ") != 1 {
			t.Errorf("%.60q: %q, want %q", text, got, want)
		}
	}
}

// A slow client is told so, and holds its connection for no longer than that.
func TestServerSlowHead(t *testing.T) {
	v := serve(t, Server{Handler: hello, HeadTime: 20 * time.Millisecond})
	for _, text := range []string{"", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na"} {
		if got := v.ask(text); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// The context of a request ends when the client goes, and when the server stops.
func TestServerCancels(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error)
	v := serve(t, Server{Handler: func(ctx context.Context, w *Response, _ *Request) {
		_ = w.Flush()
		begun <- struct{}{}
		<-ctx.Done()
		_, err := w.Write([]byte("end"))
		ended <- errors.Join(err, w.Flush())
	}})
	for _, method := range []string{"GET / ", "CONNECT x:1 "} {
		conn := v.dial()
		if _, err := io.WriteString(conn, method+"HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-begun
		_ = conn.Close()
		t.Log(<-ended) // the write may fail
	}
	conn := v.dial()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	go v.stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(answer), "end") {
		t.Errorf("the last answer is %q, %v", answer, err)
	}
	v.stop()
}

// Connections without a request, and clients that do not read, don't hold up the end.
func TestServerStops(t *testing.T) {
	begun := make(chan struct{})
	v := serve(t, Server{Handler: func(_ context.Context, w *Response, _ *Request) {
		close(begun)
		for chunk := bytes.Repeat([]byte("x"), 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}})
	silent, conn := v.dial(), v.dial() // accepted in this order: both are before the handler begins
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	v.stop()
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a connection without a request reads %v", err)
	}
}

// A tunnel has what was read with the request, and each direction ends by itself.
func TestServerTunnel(t *testing.T) {
	v := serve(t, Server{Handler: func(ctx context.Context, w *Response, r *Request) {
		conn, in, err := w.Tunnel()
		if err != nil {
			t.Error(err)
			return
		}
		all, err := io.ReadAll(in)
		if err == nil {
			_, err = fmt.Fprintf(conn, "%s got %s", r.Host, all)
		}
		if err != nil {
			t.Error(err)
		}
	}})
	conn := v.dial()
	if _, err := io.WriteString(conn, "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\nearly "); err != nil {
		t.Fatal(err)
	}
	r, err := readReply(bufio.NewReader(conn))
	if err != nil || r.Code != StatusOK {
		t.Fatal(r, err)
	}
	if _, err := io.WriteString(conn, "late"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r.Body); err != nil || string(got) != "x:1 got early late" {
		t.Errorf("%q, %v", got, err)
	}
}

// At most so many are served at once; others wait for their turn.
func TestServerConnections(t *testing.T) {
	v := serve(t, Server{Handler: hello, Connections: 2})
	first, second := v.dial(), v.dial()
	third := v.dial()
	if _, err := io.WriteString(third, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	if answer, err := io.ReadAll(third); err != nil || !strings.HasSuffix(string(answer), "hello ") {
		t.Errorf("%q, %v", answer, err)
	}
	_ = second.Close()
}

// Noise of many clients at once, some of which leave their side open, does no harm.
func TestServerNoise(t *testing.T) {
	v := serve(t, Server{Handler: hello, HeadTime: time.Second})
	random := rand.New(rand.NewPCG(1, 2))
	var all sync.WaitGroup
	for i := range 64 {
		noise := make([]byte, 1+random.IntN(64<<10))
		for j := range noise {
			noise[j] = byte(random.Uint32())
		}
		conn := v.dial()
		all.Go(func() {
			_, _ = conn.Write(noise) // may be cut off
			switch i % 3 {
			case 0:
				_ = conn.Close()
			case 1:
				_ = conn.CloseWrite()
			}
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	all.Wait()
	if got := v.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasSuffix(got, "hello ") {
		t.Errorf("%q", got)
	}
}

// net/http is a client of ours, and we are one of ours.
func TestClients(t *testing.T) {
	v := serve(t, Server{Handler: func(_ context.Context, w *Response, r *Request) {
		if r.Query.Get("bad") != "" {
			w.Error(r.Query.Get("bad"), StatusBadGateway)
			return
		}
		_, _ = fmt.Fprint(w, strings.Repeat(r.Path, 1000))
	}})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", v.path)
	}
	other := &http.Client{Transport: &http.Transport{DialContext: dial}}
	for target, want := range map[string]string{"/a%20b": strings.Repeat("/a b", 1000), "/?bad=a%0ab": "a\nb\n"} {
		resp, err := other.Post("http://x"+target, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := io.ReadAll(resp.Body)
		if _ = resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := Do(v.dial(), MethodPost, target)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := io.ReadAll(r.Body)
		if err != nil || string(theirs) != want || string(ours) != want || resp.StatusCode != r.Code {
			t.Errorf("%s: %.60q and %.60q, want %.60q; %v", target, theirs, ours, want, err)
		}
	}
	if _, err := Do(v.dial(), MethodConnect, "x:1 HTTP/1.1\r\nEvil: y"); err == nil {
		t.Error("a target with line ends is sent")
	}
}

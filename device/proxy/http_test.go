package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// clientOfProxy returns an HTTP client that uses a proxy.
func clientOfProxy(t testing.TB, address string, user *url.Userinfo) *http.Client {
	t.Helper()
	transport := &http.Transport{
		Proxy:              http.ProxyURL(&url.URL{Scheme: "http", User: user, Host: address}),
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the test's own server
		DisableCompression: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func startWeb(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

// exchange sends bytes to a proxy and returns all that it answers until it closes.
func exchange(t testing.TB, address, request string) string {
	t.Helper()
	c := connect(t, "tcp", address)
	send(t, c, []byte(request))
	answer, _ := io.ReadAll(c)
	return string(answer)
}

func TestHTTPClients(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, body)
	}
	plain := startWeb(t, handler)
	secure := httptest.NewTLSServer(http.HandlerFunc(handler))
	t.Cleanup(secure.Close)
	address, s := startProxy(t, Config{Network: fakeNetwork{}, User: "u", Password: "p"})
	client := clientOfProxy(t, address, url.UserPassword("u", "p"))
	for _, base := range []string{plain.URL, secure.URL, strings.Replace(plain.URL, "127.0.0.1", "echo.test", 1)} {
		for range 3 {
			answer, err := client.Post(base+"/a%2fb?x=1;y=%20&&z", "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if want := "POST /a%2fb?x=1;y=%20&&z body"; string(got) != want || answer.StatusCode != 200 {
				t.Errorf("%s: %d %q, want %q", base, answer.StatusCode, got, want)
			}
		}
	}
	if st := s.Stats(); st.Accepted > 3 {
		t.Errorf("%d connections for 9 requests to 3 destinations", st.Accepted)
	}
	for _, base := range []string{plain.URL, secure.URL} {
		answer, err := clientOfProxy(t, address, url.UserPassword("u", "q")).Get(base)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode != http.StatusProxyAuthRequired {
				t.Errorf("status %d with a wrong password", answer.StatusCode)
			}
		}
	}
	if st := s.Stats(); st.AuthFailures != 2 {
		t.Errorf("%d failures of authentication, want 2", st.AuthFailures)
	}
}

func TestCurl(t *testing.T) {
	web := startWeb(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	address, _ := startProxy(t, Config{Network: fakeNetwork{}, User: "u", Password: "p"})
	to := strings.Replace(web.URL, "127.0.0.1", "echo.test", 1)
	for _, args := range [][]string{
		{"-x", "http://u:p@" + address},
		{"-p", "-x", "http://u:p@" + address},
		{"--proxy-anyauth", "-x", "http://u:p@" + address},
		{"-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "-x", "http://u:p@" + address},
		{"-H", "Expect: 100-continue", "-x", "http://u:p@" + address},
		{"-0", "-x", "http://u:p@" + address},
		{"-x", "socks5h://u:p@" + address},
	} {
		args = append(args, "-sS", "--noproxy", "", "-d", "hello", to)
		if out, err := exec.Command("curl", args...).CombinedOutput(); err != nil || string(out) != "hello" {
			t.Errorf("curl %v: %q, %v", args, out, err)
		}
	}
}

func TestHTTPRefused(t *testing.T) {
	for _, tt := range []struct {
		name, request, status, text string
		network                     error
	}{
		{name: "origin form", request: "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", status: "400", text: "this is a proxy"},
		{name: "asterisk form", request: "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", status: "400", text: "this is a proxy"},
		{name: "https", request: "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", status: "400", text: "CONNECT"},
		{name: "ftp", request: "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", status: "400", text: `"ftp"`},
		{name: "no host", request: "GET http:a HTTP/1.1\r\nHost: a\r\n\r\n", status: "400"},
		{name: "port zero", request: "GET http://a:0/ HTTP/1.1\r\nHost: a\r\n\r\n", status: "400", text: "port"},
		{name: "trace", request: "TRACE http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", status: "405"},
		{name: "CONNECT without port", request: "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", status: "400", text: "HOST:PORT"},
		{name: "CONNECT of a URL", request: "CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", status: "400"},
		{name: "CONNECT to a large port", request: "CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n", status: "400", text: "port"},
		{name: "CONNECT with a user", request: "CONNECT u@a:1 HTTP/1.1\r\nHost: a\r\n\r\n", status: "400"},
		{name: "bare LF", request: "GET http://a/ HTTP/1.1\nHost: a\n\n", status: "400", text: "LF"},
		{name: "bare LF later", request: "GET http://a/ HTTP/1.1\r\nHost: a\n\r\n", status: "400", text: "LF"},
		{name: "length and chunked", request: "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET", status: "400", text: "Content-Length"},
		{name: "continued line", request: "GET http://a/ HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", status: "400", text: "continued"},
		{name: "large head", request: "GET http://a/ HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", status: "431"},
		{name: "many headers", request: "GET http://a/ HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: 1\r\n", 8<<10) + "\r\n", status: "431"},
		{name: "HTTP/2", request: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: "505"},

		{name: "not allowed", network: ErrNotAllowed, request: "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", status: "403", text: "a:80: not allowed"},
		{name: "CONNECT not allowed", network: ErrNotAllowed, request: "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", status: "403", text: "a:1: not allowed"},
		{name: "refused", network: ErrRefused, request: "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", status: "502", text: "connection refused"},
		{name: "CONNECT refused", network: ErrRefused, request: "CONNECT [fd00::1]:1 HTTP/1.1\r\nHost: a\r\n\r\n", status: "502", text: "[fd00::1]:1: connection refused"},
		{name: "timeout", network: context.DeadlineExceeded, request: "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", status: "504"},
		{name: "CONNECT timeout", network: context.DeadlineExceeded, request: "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", status: "504"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			network := failing(tt.network)
			if tt.network == nil {
				network.dial = func(_ context.Context, address string) (net.Conn, error) {
					t.Errorf("dialled %s", address)
					return nil, ErrRefused
				}
			}
			address, _ := startProxy(t, Config{Network: network})
			c := connect(t, "tcp", address)
			send(t, c, []byte(tt.request))
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(answer.Body)
			if !strings.HasPrefix(answer.Status, tt.status) || !strings.Contains(string(text), tt.text) {
				t.Errorf("answer %s, %q, want %s and %q", answer.Status, text, tt.status, tt.text)
			}
		})
	}
}

// TestHTTPTranscripts compares what the server gets, and what the client, byte by byte.
func TestHTTPTranscripts(t *testing.T) {
	for _, tt := range []struct{ name, sent, passed, answer, received string }{
		{
			name:   "headers of one hop",
			sent:   "GET http://a.test/x?y=%zz HTTP/1.1\r\nHost: b.test\r\nAccept: */*\r\nConnection: close, X-Private\r\nKeep-Alive: 3\r\nProxy-Authorization: Basic dTpw\r\nProxy-Connection: close\r\nTE: trailers, deflate\r\nX-Forwarded-For: 1.2.3.4\r\nX-Private: 1\r\n\r\n",
			passed: "GET /x?y=%zz HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nTe: trailers\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
			answer: "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 1\r\nProxy-Authenticate: Basic\r\n\r\nhi",
			// Close, since the client asked for it; no Content-Type, since the server gave none.
			received: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: D\r\nX-End: 1\r\nConnection: close\r\n\r\nhi",
		},
		{
			name:     "trailers",
			sent:     "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nUser-Agent: c\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
			passed:   "POST / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: c\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTe: trailers\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
			answer:   "HTTP/1.1 200 OK\r\nDate: D\r\nTrailer: X-Out\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Out: 2\r\n\r\n",
			received: "HTTP/1.1 200 OK\r\nDate: D\r\nTrailer: X-Out\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Out: 2\r\n\r\n",
		},
		{
			name:     "100 Continue",
			sent:     "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n",
			passed:   "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
			answer:   "HTTP/1.1 100 Continue\r\n\r\n",
			received: "HTTP/1.1 100 Continue\r\n\r\n",
		},
		{
			name:     "upgrade",
			sent:     "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfrom client",
			passed:   "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfrom client",
			answer:   "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfrom server",
			received: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfrom server",
		},
		{
			name:     "HTTP/1.0",
			sent:     "GET http://a.test/ HTTP/1.0\r\n\r\n",
			passed:   "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
			answer:   "HTTP/1.1 200 OK\r\nDate: D\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
			received: "HTTP/1.0 200 OK\r\nDate: D\r\n\r\nhi",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			servers := make(chan net.Conn, 1)
			network := fakeNetwork{dial: func(context.Context, string) (net.Conn, error) {
				near, far := net.Pipe()
				servers <- far
				return near, nil
			}}
			address, _ := startProxy(t, Config{Network: network, User: "u", Password: "p"})
			if !strings.Contains(tt.sent, "Proxy-Authorization") {
				tt.sent = strings.Replace(tt.sent, "\r\n", "\r\nProxy-Authorization: Basic dTpw\r\n", 1)
			}
			c := connect(t, "tcp", address)
			send(t, c, []byte(tt.sent))
			server := <-servers
			defer server.Close()
			if up := "\r\n\r\nfrom client"; strings.HasSuffix(tt.passed, up) { // not before the reply
				expect(t, server, []byte(strings.TrimSuffix(tt.passed, up[4:])))
				send(t, server, []byte(tt.answer))
				expect(t, server, []byte(up[4:]))
			} else {
				expect(t, server, []byte(tt.passed))
				send(t, server, []byte(tt.answer))
			}
			expect(t, c, []byte(tt.received))
			if tt.name == "100 Continue" {
				send(t, c, []byte("abc"))
				expect(t, server, []byte("abc"))
				send(t, server, []byte("HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n"))
				expect(t, c, []byte("HTTP/1.1 204 No Content\r\nDate: D\r\nConnection: close\r\n\r\n"))
			}
			if tt.name == "upgrade" {
				server.Close()
			}
			expectEnd(t, c)
		})
	}
}

func TestProxyAuthentication(t *testing.T) {
	address, s := startProxy(t, Config{Network: failing(ErrRefused), User: "u", Password: "p"})
	for value, failed := range map[string]int64{"": 0, "Basic dTpx": 1, "Basic !": 1, "Bearer x": 1, "Basic dQ==": 1} {
		before := s.Stats().AuthFailures
		request := "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n"
		if value != "" {
			request += "Proxy-Authorization: " + value + "\r\n"
		}
		got := exchange(t, address, request+"\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 407 ") || !strings.Contains(got, "\r\nProxy-Authenticate: Basic realm=\"proxy\"\r\n") {
			t.Errorf("%q: answer %q", value, got)
		}
		if n := s.Stats().AuthFailures - before; n != failed {
			t.Errorf("%q: %d failures counted, want %d", value, n, failed)
		}
	}
}

// Requests on one connection, also if sent at once, are answered in turn; one that is
// refused ends it, and what follows is not read as a request.
func TestPipelined(t *testing.T) {
	web := startWeb(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "<%s %s>", r.URL.Path, body)
	})
	address, _ := startProxy(t, Config{Network: fakeNetwork{}})
	request := func(path, rest string) string { return "POST " + web.URL + path + " HTTP/1.1\r\nHost: a\r\n" + rest }
	answer := exchange(t, address, request("/1", "Content-Length: 3\r\n\r\nabc")+"\r\n"+
		request("/2", "\r\n")+
		request("/3", "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx")+
		request("/4", "\r\n"))
	var bodies []string
	r := bufio.NewReader(strings.NewReader(answer))
	for {
		a, err := http.ReadResponse(r, nil)
		if err != nil {
			break
		}
		body, _ := io.ReadAll(a.Body)
		bodies = append(bodies, fmt.Sprintf("%d %s", a.StatusCode, body))
	}
	want := []string{"200 </1 abc>", "200 </2 >", "400 more than one Content-Length or Transfer-Encoding\n"}
	if !slices.Equal(bodies, want) {
		t.Errorf("answers %q, want %q", bodies, want)
	}
}

func TestMalformedBody(t *testing.T) {
	web := startWeb(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	address, _ := startProxy(t, Config{Network: fakeNetwork{}})
	for _, body := range []string{"zz\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "-1\r\n\r\n"} {
		got := exchange(t, address, "POST "+web.URL+" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
		if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("%q: answer %q", body, got)
		}
	}
}

// Each part of a stream arrives before the next one is made.
func TestStreaming(t *testing.T) {
	parts := make(chan string)
	web := startWeb(t, func(w http.ResponseWriter, r *http.Request) {
		for part := range parts {
			_, _ = io.WriteString(w, part)
			w.(http.Flusher).Flush()
		}
	})
	address, _ := startProxy(t, Config{Network: fakeNetwork{}})
	client := clientOfProxy(t, address, nil)
	go func() { parts <- "first" }()
	answer, err := client.Get(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	expect(t, answer.Body, []byte("first"))
	parts <- "second"
	expect(t, answer.Body, []byte("second"))
	close(parts)
	expectEnd(t, answer.Body)
}

// A response that breaks off does so for the client, too.
func TestTruncatedResponse(t *testing.T) {
	web := startWeb(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	address, _ := startProxy(t, Config{Network: fakeNetwork{}})
	answer, err := clientOfProxy(t, address, nil).Get(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.ReadAll(answer.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the body ended with %v", err)
	}
}

// What a client sends before its tunnel is open reaches the server, and so does its end.
func TestConnectEarlyDataAndHalfClose(t *testing.T) {
	echo := startEcho(t)
	address, _ := startProxy(t, Config{Network: fakeNetwork{}})
	c := connect(t, "tcp", address)
	data := bytes.Repeat([]byte("early"), 10_000)
	go func() {
		_, _ = c.Write(append([]byte("CONNECT "+echo.String()+" HTTP/1.1\r\nHost: a\r\n\r\n"), data...))
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	expect(t, c, []byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
		t.Errorf("received %d bytes of %d, %v", len(got), len(data), err)
	}
}

// A refusal arrives although the client has sent more than anyone will read.
func TestRefusalArrives(t *testing.T) {
	address, _ := startProxy(t, Config{Network: failing(ErrNotAllowed)})
	more := strings.Repeat("x", 60<<10)
	for request, want := range map[string]string{
		"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n":              "HTTP/1.1 403 ",
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n":      "HTTP/1.1 400 ",
		"GET http://a/ HTTP/1.1\r\nX: y\nZ: ":                  "HTTP/1.1 400 ",
		"GET http://a/ HTTP/1.1\r\nX: ":                        "HTTP/1.1 431 ",
		"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50": "\x05\x00" + reply(2),
		"\x05\x01\x01": "\x05\xff",
		"\x04":         string(socks4Rejected),
	} {
		c := connect(t, "tcp", address)
		send(t, c, []byte(request+more))
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%q: answer %q, %v", request, got, err)
		}
		c.Close()
	}
}

// A client that takes nothing of a large response keeps no other from theirs.
func TestSlowClient(t *testing.T) {
	web := startWeb(t, func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 1<<20)
		for range 64 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	address, _ := startProxy(t, Config{Network: fakeNetwork{}})
	for range 10 {
		send(t, connect(t, "tcp", address), []byte("GET "+web.URL+" HTTP/1.1\r\nHost: a\r\n\r\n"))
	}
	client := clientOfProxy(t, address, nil)
	client.Timeout = time.Minute
	answer, err := client.Get(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if n, err := io.Copy(io.Discard, answer.Body); n != 64<<20 || err != nil {
		t.Errorf("received %d bytes, %v", n, err)
	}
}

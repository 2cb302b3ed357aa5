package proxied

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestConnectAnswers(t *testing.T) {
	for name, tc := range map[string]struct{ answer, status, err string }{
		"good":                    {"HTTP/1.1 200 OK\r\n\r\n", "200 OK", ""},
		"established":             {"HTTP/1.0 200 Connection established\r\nVia: a\r\nB: c\r\n\r\n", "200 Connection established", ""},
		"another success":         {"HTTP/1.1 204 No Content\r\n\r\n", "204 No Content", ""},
		"no reason":               {"HTTP/1.1 200\r\n\r\n", "200", ""},
		"an empty reason":         {"HTTP/1.1 200 \r\n\r\n", "200 ", ""},
		"bare line feeds":         {"HTTP/1.1 200 OK\nA: b\n\n", "200 OK", ""},
		"lengths mean nothing":    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n", "200 OK", ""},
		"refused":                 {"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407 Proxy Authentication Required", ""},
		"after an interim one":    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "200 OK", ""},
		"nothing":                 {"", "", "unexpected EOF"},
		"cut":                     {"HTTP/1.1 200 OK\r\nA: b\r\n", "", "unexpected EOF"},
		"nothing after interim":   {"HTTP/1.1 100 Continue\r\n\r\n", "", "unexpected EOF"},
		"another protocol":        {"SSH-2.0-OpenSSH_9.2p1\r\n", "", "is not HTTP/1.1"},
		"HTTP/2":                  {"HTTP/2.0 200 OK\r\n\r\n", "", "is not HTTP/1.1"},
		"no status":               {"HTTP/1.1 fine\r\n\r\n", "", "is not HTTP/1.1"},
		"a long status":           {"HTTP/1.1 2000 OK\r\n\r\n", "", "is not HTTP/1.1"},
		"a status out of range":   {"HTTP/1.1 700 OK\r\n\r\n", "", "is not HTTP/1.1"},
		"a signed status":         {"HTTP/1.1 +20 OK\r\n\r\n", "", "is not HTTP/1.1"},
		"a long line":             {"HTTP/1.1 200 " + strings.Repeat("x", 5000) + "\r\n\r\n", "", "too long"},
		"a long reason":           {"HTTP/1.1 403 " + strings.Repeat("x", 2000) + "\r\n\r\n", "403 " + strings.Repeat("x", 96), ""},
		"endless fields":          {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 10_000), "", "too long"},
		"endless interim answers": {strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 10_000), "", "too long"},
	} {
		r := bufio.NewReader(strings.NewReader(tc.answer + "rest"))
		if tc.err == "unexpected EOF" {
			r = bufio.NewReader(strings.NewReader(tc.answer))
		}
		status, err := readConnectAnswer(r)
		if status != tc.status || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %q, %v", name, status, err)
		}
		if rest, _ := io.ReadAll(r); err == nil && string(rest) != "rest" {
			t.Errorf("%s: %q is left", name, rest)
		}
	}
}

func TestConnectRequest(t *testing.T) {
	via := &url.URL{Scheme: "http", Host: "proxy:1", User: url.UserPassword("u ser", "p:ä\r\nX: y")}
	for _, addr := range []string{"discovery.example:443", "192.0.2.1:1", "[2001:db8::1]:443"} {
		text, err := connectRequest(via, addr)
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(strings.NewReader(text))
		req, err := http.ReadRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}).BasicAuth()
		if req.Method != http.MethodConnect || req.RequestURI != addr || req.Host != addr || user != "u ser" || password != "p:ä\r\nX: y" || len(req.Header) != 1 || r.Buffered() > 0 {
			t.Errorf("%s: %q", addr, text)
		}
	}
	if text, err := connectRequest(via, "[fe80::1%a\r\nX: y]:443"); err == nil {
		t.Errorf("%q", text)
	}
}

// FuzzConnectAnswer reads no answer as a success that net/http does not, and never reads
// past the head.
func FuzzConnectAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nA: b\r\n\r\nrest"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 407 No\n\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		r := bufio.NewReader(bytes.NewReader(answer))
		status, err := readConnectAnswer(r)
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(r)
		head := answer[:len(answer)-len(rest)]
		if !isStatus(status) || status[0] == '1' || len(head) > maxProxyHead || !bytes.HasSuffix(head, []byte("\n")) {
			t.Fatalf("status %q, head %q", status, head)
		}
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: http.MethodConnect})
		if err == nil && theirs.StatusCode >= 200 && !strings.HasPrefix(status, theirs.Status[:3]) {
			t.Fatalf("status %q, want %q", status, theirs.Status)
		}
	})
}

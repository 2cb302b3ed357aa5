package http1

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestReadRequest(t *testing.T) {
	long := strings.Repeat("x", maxHead)
	for name, tt := range map[string]struct {
		text string
		code int    // of the refusal; 0: none
		want string // METHOD PATH QUERY HOST
	}{
		"get":               {"GET /a%20b?c=%26&d HTTP/1.1\r\nHost: x\r\n\r\n", 0, "GET|/a b|c=%26&d=|"},
		"bare line feeds":   {"GET / HTTP/1.1\nHost: x\n\n", 0, "GET|/||"},
		"HTTP/1.0":          {"GET / HTTP/1.0\r\n\r\n", 0, "GET|/||"},
		"absolute":          {"HEAD http://x/y HTTP/1.1\r\nHost: x\r\n\r\n", 0, "HEAD|/y||"},
		"any method":        {"PURGE * HTTP/1.1\r\nHost: x\r\n\r\n", 0, "PURGE|*||"},
		"connect":           {"CONNECT [fd00::1]:80 HTTP/1.1\r\nHost: x\r\n\r\n", 0, "CONNECT|||[fd00::1]:80"},
		"body":              {"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 0, "POST|/x||"},
		"same length twice": {"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 0, "POST|/x||"},
		"no space in value": {"GET / HTTP/1.1\r\nHost:x\r\n\r\n", 0, "GET|/||"},

		"nothing asked":         {"\r\n\r\n", 400, ""},
		"one word":              {"GET\r\n\r\n", 400, ""},
		"two spaces":            {"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"no slash":              {"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"bad escape":            {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"bad method":            {"G\"T / HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"other protocol":        {"GET / SPDY/3\r\nHost: x\r\n\r\n", 400, ""},
		"HTTP/2":                {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, ""},
		"no host":               {"GET / HTTP/1.1\r\n\r\n", 400, ""},
		"two hosts":             {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, ""},
		"space before colon":    {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, ""},
		"folded":                {"GET / HTTP/1.1\r\nHost: x\r\n y: z\r\n\r\n", 400, ""},
		"no colon":              {"GET / HTTP/1.1\r\nHost: x\r\ny\r\n\r\n", 400, ""},
		"no name":               {"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400, ""},
		"carriage return":       {"GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n", 400, ""},
		"NUL":                   {"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"TLS":                   {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400, ""},
		"long line":             {"GET /" + long + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, ""},
		"line without an end":   {long + long, 431, ""},
		"many lines":            {"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a:b\r\n", maxHead/5), 431, ""},
		"large body":            {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n", 413, ""},
		"huge body":             {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413, ""},
		"negative body":         {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, ""},
		"signed body":           {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx", 400, ""},
		"two lengths":           {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy", 400, ""},
		"chunked":               {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501, ""},
		"connect with a body":   {"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 400, ""},
		"connect to a path":     {"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"connect with a path":   {"CONNECT x:1/y HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"connect with password": {"CONNECT u:p@x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
	} {
		r, err := readRequest(bufio.NewReader(strings.NewReader(tt.text)), io.Discard)
		if tt.code != 0 {
			if say := refusalOf(err); say == nil || say.code != tt.code {
				t.Errorf("%s: %+v, %v; want code %d", name, say, err, tt.code)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join([]string{r.Method, r.Path, r.Query.Encode(), r.Host}, "|"); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// A request that ends early has no answer: the client has gone.
func TestReadRequestCutOff(t *testing.T) {
	const whole = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
	for n := range len(whole) {
		_, err := readRequest(bufio.NewReader(strings.NewReader(whole[:n])), io.Discard)
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || refusalOf(err) != nil {
			t.Errorf("after %q: %v", whole[:n], err)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	for text, want := range map[string]string{
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx":   "HTTP/1.1 100 Continue\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n":    "",
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n": "",
		"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx":              "",
	} {
		var out strings.Builder
		_, _ = readRequest(bufio.NewReader(strings.NewReader(text)), &out) // one is refused
		if out.String() != want {
			t.Errorf("%q: %q, want %q", text, out.String(), want)
		}
	}
}

func TestReadReply(t *testing.T) {
	for text, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody":                         "body",
		"HTTP/1.0 404\r\n\r\n":                                        "",
		"HTTP/2 200 OK\r\n\r\n":                                       "malformed answer",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n":        "malformed answer",
		"HTTP/1.1 2000 OK\r\n\r\n":                                    "malformed answer",
		"HTTP/1.1 +20 OK\r\n\r\n":                                     "malformed answer",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n":  "Transfer-Encoding",
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", maxHead/5): "larger than",
		"HTTP/1.1 200 OK\r\nA: b\r\n":                                 "unexpected EOF",
		"":                                                            "EOF",
	} {
		r, err := readReply(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			if want == "" || want == "body" || !strings.Contains(err.Error(), want) {
				t.Errorf("%.40q: %v, want %q", text, err, want)
			}
			continue
		}
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != want {
			t.Errorf("%.40q: %d %q, %v", text, r.Code, body, err)
		}
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n")
	f.Add("POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
	f.Add("CONNECT [fd00::1]:80 HTTP/1.0\n\nearly")
	f.Fuzz(func(t *testing.T, text string) {
		in := bufio.NewReader(strings.NewReader(text))
		r, err := readRequest(in, io.Discard)
		if err != nil {
			return
		}
		left, _ := io.ReadAll(in)
		if used := len(text) - len(left); used > maxHead+maxBody {
			t.Errorf("%d bytes are read", used)
		}
		if !isToken(r.Method) || (r.Host != "") != (r.Method == MethodConnect) {
			t.Errorf("%+v", r)
		}
		// Whatever is accepted means the same to net/http, which accepts more.
		other, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		if other.Method != r.Method || r.Method != MethodConnect && other.URL.Path != r.Path || r.Host != "" && other.URL.Host != r.Host {
			t.Errorf("%+v, and to net/http %+v of %+v", r, other, other.URL)
		}
	})
}

func FuzzReadReply(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nok\n")
	f.Add("HTTP/1.0 404\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := readReply(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Code < 200 || r.Code > 999 || !strings.HasSuffix(text, string(body)) || len(text)-len(body) > maxHead {
			t.Errorf("%d %q, %v", r.Code, body, err)
		}
	})
}

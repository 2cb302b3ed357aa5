package quick

import (
	"bufio"
	"bytes"
	"go/parser"
	"go/token"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSocket(t *testing.T) {
	for line, want := range map[string]string{
		"status":                                 "",
		"status -o json":                         "",
		"status --output=json":                   "",
		"get peers -o yaml node-1":               "",
		"get members --control-socket /a/b":      "/a/b",
		"status --control-socket=/a/b=c -o json": "/a/b=c",
		"":                                       "no",
		"up":                                     "no",
		"status --watch":                         "no",
		"status -w":                              "no",
		"status --help":                          "no",
		"status -h":                              "no",
		"status --check ready":                   "no",
		"get identities --secrets":               "no",
		"status -o":                              "no",
		"status --control-socket":                "no",
		"status --control-socket run/s":          "no",
		"status --control-socket=":               "no",
		"status -c /etc/w.yaml":                  "no",
		"status -":                               "no",
		"-o json status":                         "no",
	} {
		got, ok := Socket(strings.Fields(line))
		if !ok {
			got = "no"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestPlain(t *testing.T) {
	if !plain([]string{"PATH=/bin", "X=WIRESPAN_Y", "WIRESPANX=1"}) || plain([]string{"PATH=/bin", "WIRESPAN_STATE_DIR=/x"}) {
		t.Error("only variables of the program count")
	}
}

// An HTTP server understands the request.
func TestRequest(t *testing.T) {
	args := []string{"get", "a b&c=d%#+\r\n\x00é", ""}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request(args, true, 132))))
	if err != nil {
		t.Fatal(err)
	}
	q := r.URL.Query()
	want := url.Values{"arg": args, "columns": {"132"}, "usual": {"1"}}
	if r.URL.Path != "/v1/command" || len(q) != len(want) || !slices.Equal(q["arg"], args) || q.Get("columns") != "132" || q.Get("usual") != "1" {
		t.Errorf("%s %v, want %v", r.URL.Path, q, want)
	}
}

func TestOutput(t *testing.T) {
	for head, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab":                  "ab",
		"HTTP/1.1 200 OK\r\nX: y\r\ncontent-length:5\r\n\r\n":             "",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab":                  "no",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n":                   "no",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n": "no",
		"HTTP/1.1 200 OK\r\n\r\nab":                                       "no",
		"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nab":           "no",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n":                        "no",
		"200\r\n\r\n":          "no",
		"":                     "no",
		"\xff\x00\r\n\r\n\r\n": "no",
	} {
		begin, length, ok := output([]byte(head))
		got := string(begin)
		if !ok {
			got = "no"
		}
		if got != want || ok && length != 5 {
			t.Errorf("%q: %q, %d, want %q", head, got, length, want)
		}
	}
}

// What else this package imported would be initialised first, with all that comes before it.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	allowed := []string{"bytes", "slices", "strconv", "syscall", "unsafe", "github.com/wirespan/wirespan/device/memory/text"}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path := strings.Trim(i.Path.Value, `"`); !strings.HasSuffix(name, "_test.go") && !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if begin, length, ok := output(head); ok && len(begin) > length {
			t.Errorf("%d of %d bytes", len(begin), length)
		}
	})
}

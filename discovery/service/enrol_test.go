package service

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/discovery"

	"github.com/wirespan/wirespan/discovery/server"
)

// founder runs a server that admits nodes, and returns its address and its pin.
func founder(t *testing.T, enrol server.EnrolFunc) (addr string, pin [32]byte) {
	t.Helper()
	cert, pin, err := server.MemoryCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	srv, err := server.New(server.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Enrol: enrol})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String(), pin
}

func TestEnrol(t *testing.T) {
	addr, pin := founder(t, func(_ context.Context, request []byte) ([]byte, error) {
		switch string(request) {
		case "refuse":
			return nil, discovery.Refusal("used\nup")
		case "fail":
			return nil, errors.New("disk full")
		}
		return request, nil
	})
	other, _ := founder(t, func(context.Context, []byte) ([]byte, error) { return []byte("stolen"), nil })
	plain, plainPin := founder(t, nil)
	const closed = "127.0.0.1:1"
	for name, test := range map[string]struct {
		servers []string
		pin     [32]byte
		request string
		refused bool
		want    string // in the error; empty: an answer
	}{
		"an answer":               {[]string{addr}, pin, "x", false, ""},
		"the second address":      {[]string{closed, addr}, pin, "x", false, ""},
		"behind a wrong server":   {[]string{other, addr}, pin, "x", false, ""},
		"refused":                 {[]string{addr}, pin, "refuse", true, "used up"},
		"the founder fails":       {[]string{addr}, pin, "fail", false, "the founder could not answer"},
		"unreachable":             {[]string{closed}, pin, "x", false, "connection refused"},
		"wrong server":            {[]string{other}, pin, "x", true, "certificate pin mismatch"},
		"wrong server, one other": {[]string{other, closed}, pin, "x", false, "certificate pin mismatch"},
		"no founder":              {[]string{plain}, plainPin, "x", true, "the server admits no nodes"},
		"no pin":                  {[]string{addr}, [32]byte{}, "x", false, "no pin"},
	} {
		answer, err := Enrol(t.Context(), EnrolConfig{Servers: test.servers, Pin: test.pin}, []byte(test.request))
		switch {
		case test.want == "" && (err != nil || string(answer) != test.request):
			t.Errorf("%s: %q, %v", name, answer, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, discovery.ErrRefused) != test.refused):
			t.Errorf("%s: %v, refused %v; want %q, %v", name, err, errors.Is(err, discovery.ErrRefused), test.want, test.refused)
		}
	}
}

package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// patience is how long an answer is waited for before the request is sent again, as RFC 6886
// says. The gateway is on the link: what has not answered then does not speak the protocol.
var patience = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}

// maxStray is how many datagrams that are no answer are read for a request.
const maxStray = 64

var (
	errNoAnswer   = errors.New("no answer")
	errNotOffered = errors.New("not offered")
)

// refusal is a gateway's answer that it does not do what it was asked for.
type refusal struct {
	code int
	text string
}

func (r refusal) Error() string {
	switch {
	case r.text == "":
		return fmt.Sprintf("the gateway refuses with code %d", r.code)
	case r.code == 0:
		return r.text
	}
	return fmt.Sprintf("the gateway refuses with code %d: %s", r.code, r.text)
}

// refused returns the refusal with a code; texts are by code.
func refused(code int, texts []string) error {
	if code < len(texts) {
		return refusal{code, texts[code]}
	}
	return refusal{code: code}
}

// link is the way to a gateway.
type link struct {
	gateway mesh.Gateway
	sockets Sockets
}

// Sockets opens sockets whose packets go to a gateway, and never into a tunnel.
type Sockets interface {
	// Dial connects to a port of the gateway. What others send is not received.
	Dial(ctx context.Context, g mesh.Gateway, network string, port uint16) (net.Conn, error)
	// Search sends a request to the multicast group and to the gateway's port of the same
	// number, and calls answer with what the gateway sends until that returns true.
	Search(ctx context.Context, g mesh.Gateway, group netip.AddrPort, request []byte, answer func([]byte) bool) error
}

// exchange sends a request until accept takes an answer.
func (l link) exchange(ctx context.Context, port uint16, request []byte, accept func([]byte) (bool, error)) error {
	conn, err := l.sockets.Dial(ctx, l.gateway, "udp", port)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	b := make([]byte, pcpMax+1)
	stray := 0
	for _, wait := range patience {
		if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		if _, err := conn.Write(request); err != nil {
			return unanswered(ctx, err)
		}
		for stray < maxStray {
			n, err := conn.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return unanswered(ctx, err)
			}
			if taken, err := accept(b[:n]); taken {
				return err
			}
			stray++
		}
	}
	return errNoAnswer
}

// unanswered returns why a request is not answered.
func unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if isRefused(err) { // nothing listens there
		return errNotOffered
	}
	return err
}

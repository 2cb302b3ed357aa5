package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// echoPort is the port of the echo server.
const echoPort = 9001

// repeats starts a TCP server on the host that sends back what it receives.
func (h *labHost) repeats() {
	h.Helper()
	var l net.Listener
	err := h.inside(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", echoPort))
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.Cleanup(func() { _ = conn.Close() })
			go func() {
				_, _ = io.Copy(conn, conn) // until the other side closes
				_ = conn.Close()
			}()
		}
	}()
}

// dialsEcho connects to the echo server at an address.
func (h *labHost) dialsEcho(a netip.Addr) net.Conn {
	h.Helper()
	var conn net.Conn
	eventually(h.T, within, func() (err error) {
		ctx, cancel := context.WithTimeout(h.Context(), 5*time.Second)
		defer cancel()
		conn, err = h.dial(ctx, "tcp", netip.AddrPortFrom(a, echoPort).String())
		return err
	})
	h.Cleanup(func() { _ = conn.Close() })
	return conn
}

// says sends a line over a connection to the echo server and checks that it comes back.
func (h *labHost) says(conn net.Conn, line string) {
	h.Helper()
	_ = conn.SetDeadline(time.Now().Add(40 * time.Second)) // TCP's retransmission timeout grows
	got := make([]byte, len(line))
	if _, err := io.WriteString(conn, line); err != nil {
		h.Errorf("%s to %s: %v", line, conn.RemoteAddr(), err)
	} else if _, err := io.ReadFull(conn, got); err != nil || string(got) != line {
		h.Errorf("%s to %s came back as %q: %v", line, conn.RemoteAddr(), got, err)
	}
}

// refused tries to connect to the echo server by TCP and returns the error. It fails the
// test if the connection succeeds.
func (h *labHost) refused(a netip.Addr) error {
	h.Helper()
	err := h.inside(func() error {
		conn, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", netip.AddrPortFrom(a, echoPort).String())
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	if err == nil {
		h.Errorf("%s connects to %s", h.name, a)
	}
	return err
}

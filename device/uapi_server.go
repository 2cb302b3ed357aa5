package device

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/unixsocket"
)

// UAPIDirectory is where wg(8) looks for the configuration sockets of userspace
// interfaces: <interface>.sock.
const UAPIDirectory = "/var/run/wireguard"

const (
	maxClients = 16
	// maxRequest bounds the bytes that one connection may send: room for 1,000
	// peers with a hundred prefixes each.
	maxRequest = 8 << 20
	// clientTimeout bounds each read from a client and each write to it.
	clientTimeout = 10 * time.Second
)

// ServeUAPI serves WireGuard's configuration protocol on a unix socket at path, for
// wg(8), which looks in [UAPIDirectory]. See [ListenUAPI].
// ServeUAPI returns when ctx ends or the device stops; neither is an error.
func (d *Device) ServeUAPI(ctx context.Context, path string) error {
	listener, err := ListenUAPI(path)
	if err != nil {
		return err
	}
	d.ServeUAPIListener(ctx, listener)
	return nil
}

// ServeUAPIListener is ServeUAPI on a socket that is open already. It closes the
// socket.
func (d *Device) ServeUAPIListener(ctx context.Context, listener net.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		select {
		case <-d.Done():
			cancel()
		case <-ctx.Done():
		}
	})
	slots := make(chan struct{}, maxClients)
	for {
		slots <- struct{}{} // does not block for ever: each client has a timeout
		client, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = client.Close()
			}
			return
		}
		if err != nil { // most likely out of descriptors
			<-slots
			d.log.Debug("accept on configuration socket", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		running.Go(func() {
			defer func() { <-slots }()
			d.serveClient(ctx, client)
		})
	}
}

// ListenUAPI opens a configuration socket, and makes its directory. Only the
// socket's owner can connect, since replies hold keys. See [unixsocket.Listen]
// for what it replaces and what it refuses.
func ListenUAPI(path string) (*net.UnixListener, error) {
	listener, err := unixsocket.Listen(path)
	if err != nil {
		return nil, fmt.Errorf("configuration socket %s: %w", path, err)
	}
	return listener, nil
}

// serveClient answers requests until the client hangs up, is idle for too long, or
// sends something other than a request.
func (d *Device) serveClient(ctx context.Context, client net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	defer func() { _ = client.Close() }()
	c := &timeoutConn{client}
	in := bufio.NewReader(io.LimitReader(c, maxRequest))
	for d.serveRequest(in, c) == nil {
	}
}

var errRequest = errors.New("not a request")

// serveRequest answers one request. An error ends the connection. Requests and
// replies are buffered as a whole: upstream's device is locked while it reads or
// writes one, and a slow client must not hold that lock.
func (d *Device) serveRequest(in *bufio.Reader, out io.Writer) error {
	operation, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	operation = bytes.Clone(operation)
	var body, reply bytes.Buffer
	defer wipe(&body, &reply)
	if err := readBody(in, &body); err != nil {
		return err
	}
	switch {
	case string(operation) == "set=1\n":
		err = d.wg.IpcSetOperation(&body)
	case string(operation) == "get=1\n" && body.Len() == 0:
		if err = d.wg.IpcGetOperation(&reply); err == nil {
			showDirect(&reply)
		}
	default:
		return errRequest
	}
	var errno int64
	if err != nil {
		errno = -int64(unix.EINVAL)
		if refused := (*wireguard.IPCError)(nil); errors.As(err, &refused) {
			errno = refused.ErrorCode()
		}
	}
	fmt.Fprintf(&reply, "errno=%d\n\n", errno)
	_, err = out.Write(reply.Bytes())
	return err
}

// viaRelay is in the text of an endpoint that is reached by a relay; see mesh.Via.
var viaRelay = []byte("%relay.")

// showDirect writes endpoints that are reached by a relay without it: wg(8) does not understand
// their texts, and would show nothing at all.
func showDirect(reply *bytes.Buffer) {
	if !bytes.Contains(reply.Bytes(), viaRelay) {
		return
	}
	old := bytes.Clone(reply.Bytes())
	defer clear(old)
	reply.Reset()
	for l := range bytes.Lines(old) {
		text, found := bytes.CutPrefix(l, []byte("endpoint="))
		if at, err := netip.ParseAddrPort(string(bytes.TrimSpace(text))); found && err == nil {
			if direct, relay := mesh.Direct(at); relay != "" {
				line(reply, "endpoint=", direct.String())
				continue
			}
		}
		reply.Write(l)
	}
}

// readBody reads the lines up to an empty one, without the latter.
func readBody(in *bufio.Reader, body *bytes.Buffer) error {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 1 {
			return nil
		}
		body.Write(line)
	}
}

// maxReused is the largest size of a buffer that is used again. One that held a
// thousand peers is not kept for the few peers that change later.
const maxReused = 64 << 10

// wipe empties buffers that held secrets, and overwrites their memory.
func wipe(buffers ...*bytes.Buffer) {
	for _, b := range buffers {
		b.Reset()
		clear(b.AvailableBuffer()[:b.Available()])
		if b.Cap() > maxReused {
			*b = bytes.Buffer{}
		}
	}
}

// timeoutConn is a connection on which each read and each write has a deadline.
type timeoutConn struct{ net.Conn }

func (c timeoutConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(clientTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c timeoutConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(clientTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

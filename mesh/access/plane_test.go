//go:build !edge

package access

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/mesh/config"
)

// joinedNode is a node of a mesh of two, on netstacks: it has services, and node-2 has what
// a test opens on its stack.
type joinedNode struct {
	*Services
	peer  *netstack.Netstack
	proxy Private
}

// newJoinedNode runs services until the test ends. Port 80 of the mesh is forwarded to a
// port of 127.0.0.1.
func newJoinedNode(t *testing.T, limits config.Limits, target net.Addr) *joinedNode {
	t.Helper()
	stack, peer := stacks(t)
	forward, err := config.ParseForward("80:127.0.0.1:"+portText(target), config.ForwardMesh)
	if err != nil {
		t.Fatal(err)
	}
	settings := &config.Wirespan{Limits: limits, MeshForwards: []config.Forward{forward}}
	s, err := New(Config{Directory: newKnowledge(), Plane: stack, Outside: *outside(nil), Log: hclog.NewNullLogger()}, settings)
	if err != nil {
		t.Fatal(err)
	}
	s.Attach(own)
	n := &joinedNode{Services: s, peer: peer}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	ready := make(chan Private, 1)
	for _, run := range []func() error{
		func() error { return s.Run(ctx) },
		func() error { return s.Private(ctx, func(p Private) { ready <- p }) },
	} {
		running.Go(func() {
			if err := run(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	n.proxy = <-ready
	await(t, "the forward listens", func() bool {
		all := n.forwards.Status()
		return len(all) == 1 && all[0].Listening == 1
	})
	return n
}

// stacks returns the stacks of this node and of node-2, and carries packets between them.
func stacks(t *testing.T) (a, b *netstack.Netstack) {
	t.Helper()
	open := func(address netip.Addr) *netstack.Netstack {
		n, err := netstack.New(netstack.Config{Addresses: []netip.Addr{address}, MTU: 1420})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	a, b = open(own), open(node2)
	const offset = 16
	carry := func(from, to *netstack.Netstack) {
		bufs, sizes := make([][]byte, from.BatchSize()), make([]int, from.BatchSize())
		for i := range bufs {
			bufs[i] = make([]byte, 2048)
		}
		for {
			n, err := from.Read(bufs, sizes, offset)
			if err != nil {
				return
			}
			out := make([][]byte, n)
			for i := range out {
				out[i] = bufs[i][:offset+sizes[i]]
			}
			_, _ = to.Write(out, offset)
		}
	}
	var carrying sync.WaitGroup
	carrying.Go(func() { carry(a, b) })
	carrying.Go(func() { carry(b, a) })
	t.Cleanup(func() { _, _ = a.Close(), b.Close(); carrying.Wait() })
	return a, b
}

// throughProxy connects a program of this node to a port of node-2, by SOCKS5.
func (n *joinedNode) throughProxy(port uint16) (net.Conn, error) {
	c, err := net.Dial("tcp", n.proxy.Address)
	if err != nil {
		return nil, err
	}
	hello := []byte{5, 1, 2, 1, byte(len(n.proxy.User))}
	hello = append(append(hello, n.proxy.User...), byte(len(n.proxy.Password)))
	hello = append(append(hello, n.proxy.Password...), 5, 1, 0, 3, byte(len("node-2")))
	hello = append(append(hello, "node-2"...), byte(port>>8), byte(port))
	reply := make([]byte, 2+2+4+16+2) // method, password, and a reply with an IPv6 address
	if _, err = c.Write(hello); err == nil {
		_, err = io.ReadFull(c, reply)
	}
	if err == nil && !bytes.Equal(reply[:6], []byte{5, 2, 1, 0, 5, 0}) {
		err = net.UnknownNetworkError("SOCKS5: " + strconv.Quote(string(reply[:6])))
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// throughForward connects a program of node-2 to the forward.
func (n *joinedNode) throughForward(t *testing.T) (net.Conn, error) {
	return n.peer.DialTCPAddrPort(t.Context(), netip.AddrPortFrom(own, 80))
}

// serve hands the connections of a listener to a handler, which closes them, until the test
// ends. It returns the listener's address.
func serve(t *testing.T, l net.Listener, err error, handle func(net.Conn)) net.Addr {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { handle(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr()
}

// echo sends back what comes.
func echo(c net.Conn) { _, _ = io.Copy(c, c); _ = c.Close() }

func portText(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !so() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("it is not so: %s", what)
		}
	}
}

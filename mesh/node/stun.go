package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/stun"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
)

// maxSTUNServers is how many servers are asked.
const maxSTUNServers = 16

// withoutSTUN is the domain of a public discovery service that answers no STUN.
const withoutSTUN = ".talos.dev"

// stunServers returns the servers that tell this node its mapped addresses: those of the
// configuration, and the discovery services, which answer STUN at the UDP port with the
// same number. own is the embedded server, which has nothing to tell.
func stunServers(c *config.Config, services []string, own service) []string {
	out := slices.Clone(c.StunServers)
	for _, s := range services {
		host, _, err := net.SplitHostPort(s)
		if err == nil && !slices.Contains(own.Endpoints, s) && !strings.HasSuffix(host, withoutSTUN) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out[:min(len(out), maxSTUNServers)]
}

// discoveryServers returns the addresses of the discovery services.
func discoveryServers(e *agent.Effective) (list []string) {
	for _, s := range e.Sources {
		spec, _ := s.Spec.(service)
		for _, endpoint := range spec.Endpoints {
			if !slices.Contains(list, endpoint) {
				list = append(list, endpoint)
			}
		}
	}
	return list
}

// answersSTUN reports whether the device answers STUN at WireGuard's port. By default it
// does if that is the number of the embedded discovery server's port, which nodes ask.
func (n *Node) answersSTUN(c *config.Config) bool {
	if c.AnswerStun != nil {
		return *c.AnswerStun
	}
	return n.server != nil && n.server.port() == c.ListenPort
}

// stunListener answers STUN binding requests at a UDP port.
type stunListener struct {
	conn   *burst.Conn
	server *stun.Server
	// turn takes what is no binding request, with its control messages; nil: nobody does. It
	// must not keep the bytes.
	turn atomic.Pointer[func(b, controls []byte, from netip.AddrPort)]
}

// listenSTUN opens the UDP port beside that of a discovery server.
func listenSTUN(ctx context.Context, beside net.Addr, mark uint32) (*stunListener, error) {
	lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		return errors.Join(bind.Control(mark)(network, address, c), c.Control(func(fd uintptr) {
			// The answer leaves from the address that was asked. One of them fails: the
			// socket is of one IP version, or there is none of the other.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}))
	}}
	addr := beside.(*net.TCPAddr).AddrPort()
	listen := addr.String()
	if addr.Addr().IsUnspecified() {
		listen = fmt.Sprintf(":%d", addr.Port()) // both IP versions, as Go's TCP listeners do
	}
	c, err := lc.ListenPacket(ctx, "udp", listen)
	if err != nil {
		return nil, fmt.Errorf("STUN beside the discovery server: %w", err)
	}
	return &stunListener{conn: burst.New(c.(*net.UDPConn)), server: stun.NewServer(time.Now())}, nil
}

// run answers until ctx is done, and closes the port.
func (l *stunListener) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	defer stop()
	buf, control := make([]byte, burst.Size), make([]byte, 128)
	for {
		n, size, controls, from, err := l.conn.ReadBurstMsg(buf, control)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("STUN: %w", err)
			}
			continue // of an earlier answer, such as that its port is closed
		}
		for b := buf[:n]; len(b) > 0; {
			var first []byte
			first, b = burst.Cut(b, size)
			l.answer(first, control[:controls], from)
		}
	}
}

// answer takes a datagram.
func (l *stunListener) answer(b, controls []byte, from netip.AddrPort) {
	if take := l.turn.Load(); take != nil {
		(*take)(b, controls, from)
	}
	if answer := l.server.Answer(time.Now(), b, from); answer != nil {
		_, _, _ = l.conn.WriteMsgUDPAddrPort(answer, controls, from) // lost, as a datagram may be
	}
}

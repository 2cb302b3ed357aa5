package agent

import (
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// controlListener bounds the connections and learns whose they are, by
// SO_PEERCRED (unix(7)).
type controlListener struct {
	*net.UnixListener
	slots chan struct{}
}

// controlConn is a connection of a known user. It keeps the half-close of unix
// sockets, which CONNECT needs.
type controlConn struct {
	*net.UnixConn
	owner   bool // root or the agent's own uid
	release func()
}

func newControlListener(l *net.UnixListener, connections int) *controlListener {
	return &controlListener{l, make(chan struct{}, connections)}
}

// Accept turns away whoever comes when all slots are taken.
func (l *controlListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		uid, ok := peerUID(conn)
		return &controlConn{
			UnixConn: conn,
			owner:    ok && (uid == 0 || uid == uint32(os.Geteuid())),
			release:  sync.OnceFunc(func() { <-l.slots }),
		}, nil
	}
}

func (c *controlConn) Close() error {
	defer c.release()
	return c.UnixConn.Close()
}

func peerUID(conn *net.UnixConn) (uid uint32, ok bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}) != nil || err != nil {
		return 0, false
	}
	return cred.Uid, true
}

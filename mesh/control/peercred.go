package control

import (
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Bounds of the open connections. Those who may only read can't keep an owner
// out, nor one user the others.
const (
	maxConnections = 64
	maxOthers      = 48 // of all who aren't owners
	maxPerUser     = 16 // of one of them
)

// listener bounds the connections and learns whose they are, by
// SO_PEERCRED (unix(7)).
type listener struct {
	*net.UnixListener
	slots slots
}

// connection is a connection of a known user. It keeps the half-close of unix
// sockets, which CONNECT needs.
type connection struct {
	*net.UnixConn
	owner   bool // root or the agent's own uid
	release func()
}

func newListener(l *net.UnixListener) *listener {
	return &listener{l, slots{byUID: map[uint32]int{}}}
}

// Accept turns away who can't be known, and whoever comes when the slots that
// are open to them are taken.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		cred, ok := peerCredentials(conn)
		uid := cred.Uid
		owner := isOwner(uid)
		if !ok || !l.slots.take(uid, owner) {
			_ = conn.Close()
			continue
		}
		return &connection{
			UnixConn: conn,
			owner:    owner,
			release:  sync.OnceFunc(func() { l.slots.release(uid, owner) }),
		}, nil
	}
}

func (c *connection) Close() error {
	defer c.release()
	return c.UnixConn.Close()
}

// slots counts connections.
type slots struct {
	mu     sync.Mutex
	all    int
	others int            // of those who aren't owners
	byUID  map[uint32]int // likewise; none is zero
}

func (s *slots) take(uid uint32, owner bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxConnections {
		return false
	}
	if !owner {
		if s.others >= maxOthers || s.byUID[uid] >= maxPerUser {
			return false
		}
		s.others++
		s.byUID[uid]++
	}
	s.all++
	return true
}

func (s *slots) release(uid uint32, owner bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if owner {
		return
	}
	s.others--
	if s.byUID[uid]--; s.byUID[uid] == 0 {
		delete(s.byUID, uid)
	}
}

// isOwner reports whether uid is root or the agent's own.
func isOwner(uid uint32) bool { return uid == 0 || uid == uint32(os.Geteuid()) }

func peerCredentials(conn *net.UnixConn) (cred unix.Ucred, ok bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return cred, false
	}
	var found *unix.Ucred
	if raw.Control(func(fd uintptr) {
		found, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}) != nil || err != nil {
		return cred, false
	}
	return *found, true
}

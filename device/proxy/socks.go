package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Bytes of RFC 1928 and 1929.
const (
	socks4Version   = 4
	socks5Version   = 5
	passwordVersion = 1

	methodNone       = 0
	methodPassword   = 2
	methodUnaccepted = 0xff

	commandConnect   = 1
	commandBind      = 2
	commandAssociate = 3

	addressIPv4 = 1
	addressName = 3
	addressIPv6 = 4

	replySucceeded       = 0
	replyFailure         = 1
	replyNotAllowed      = 2
	replyNetUnreachable  = 3
	replyHostUnreachable = 4
	replyRefused         = 5
	replyTimeout         = 6 // "TTL expired"
	replyCommand         = 7
	replyAddressType     = 8
)

// socks4Rejected is the reply of SOCKS4 for a request that failed.
var socks4Rejected = []byte{0, 91, 0, 0, 0, 0, 0, 0}

// replyOf has the reply for each kind of failure.
var replyOf = map[failure]byte{
	failGeneral:    replyFailure,
	failNotAllowed: replyNotAllowed,
	failNetwork:    replyNetUnreachable,
	failHost:       replyHostUnreachable,
	failRefused:    replyRefused,
	failTimeout:    replyTimeout,
	failFamily:     replyAddressType,
}

// target is an address as SOCKS writes it. The host is an IP address or a name.
type target struct {
	host string
	port uint16
}

func (t target) String() string { return hostPort(t.host, t.port) }

// socksRequest is what a client asks for.
type socksRequest struct {
	command byte
	target  target
}

// replyError is a request that is refused with a reply.
type replyError struct {
	code byte
	why  string
}

func (e *replyError) Error() string { return e.why }

// readMethods reads a greeting after its version: the methods of authentication that the
// client knows.
func readMethods(r io.Reader) ([]byte, error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	methods := make([]byte, n[0])
	_, err := io.ReadFull(r, methods)
	return methods, err
}

// readPassword reads a user name and a password (RFC 1929).
func readPassword(r io.Reader) (user, password string, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", "", err
	}
	if head[0] != passwordVersion {
		return "", "", fmt.Errorf("version %d of password authentication", head[0])
	}
	rest := make([]byte, int(head[1])+1) // the name, and the length of the password
	if _, err := io.ReadFull(r, rest); err != nil {
		return "", "", err
	}
	secret := make([]byte, rest[head[1]])
	if _, err := io.ReadFull(r, secret); err != nil {
		return "", "", err
	}
	return string(rest[:head[1]]), string(secret), nil
}

// readRequest reads a request, and not a byte more: what follows is for the destination.
func readRequest(r io.Reader) (socksRequest, error) {
	var b [3 + 1 + 1 + 255 + 2]byte
	if _, err := io.ReadFull(r, b[:5]); err != nil { // up to the first byte of the address
		return socksRequest{}, err
	}
	if b[0] != socks5Version {
		return socksRequest{}, &replyError{replyFailure, fmt.Sprintf("version %d in a request of SOCKS5", b[0])}
	}
	size, err := addressSize(b[3:5])
	if err != nil {
		return socksRequest{}, err
	}
	if _, err := io.ReadFull(r, b[5:3+size]); err != nil {
		return socksRequest{}, err
	}
	to, _, err := cutTarget(b[3 : 3+size])
	return socksRequest{b[1], to}, err
}

// addressSize returns how many bytes an address takes, from its type to its port. Two of
// them must be there.
func addressSize(b []byte) (int, error) {
	switch b[0] {
	case addressIPv4:
		return 1 + 4 + 2, nil
	case addressIPv6:
		return 1 + 16 + 2, nil
	case addressName:
		return 1 + 1 + int(b[1]) + 2, nil
	}
	return 0, &replyError{replyAddressType, fmt.Sprintf("address type %d", b[0])}
}

// cutTarget reads an address from the start of b, and returns what follows it.
func cutTarget(b []byte) (target, []byte, error) {
	if len(b) < 2 {
		return target{}, nil, io.ErrUnexpectedEOF
	}
	size, err := addressSize(b)
	if err != nil {
		return target{}, nil, err
	}
	if len(b) < size {
		return target{}, nil, io.ErrUnexpectedEOF
	}
	host, rest := b[1:size-2], b[size:]
	t := target{port: binary.BigEndian.Uint16(b[size-2:])}
	if b[0] != addressName {
		ip, _ := netip.AddrFromSlice(host)
		t.host = ip.Unmap().String()
		return t, rest, nil
	}
	t.host = string(host[1:])
	if !isHost(t.host) {
		return target{}, nil, &replyError{replyFailure, fmt.Sprintf("host %q", t.host)}
	}
	return t, rest, nil
}

// isHost reports whether a name consists of visible characters, and of such that no
// address is built with.
func isHost(name string) bool {
	for _, b := range []byte(name) {
		if b <= ' ' || b >= 0x7f || b == '/' || b == '[' || b == ']' || b == '@' {
			return false
		}
	}
	return name != ""
}

// appendTarget appends an IP address. One that is not valid becomes 0.0.0.0:0.
func appendTarget(b []byte, ap netip.AddrPort) []byte {
	ip := ap.Addr().Unmap()
	switch {
	case !ip.IsValid():
		return append(b, addressIPv4, 0, 0, 0, 0, 0, 0)
	case ip.Is4():
		raw := ip.As4()
		b = append(append(b, addressIPv4), raw[:]...)
	default:
		raw := ip.As16()
		b = append(append(b, addressIPv6), raw[:]...)
	}
	return binary.BigEndian.AppendUint16(b, ap.Port())
}

// socksReply returns a reply with the address that a command was given.
func socksReply(code byte, bound netip.AddrPort) []byte {
	return appendTarget([]byte{socks5Version, code, 0}, bound)
}

// serveSOCKS serves a client of SOCKS5 whose version byte is read already.
func (v *service) serveSOCKS(ctx context.Context, c *client) {
	if err := v.authenticate(c); err != nil {
		v.log.Debug("client refused", "client", c.RemoteAddr(), "error", err)
		return
	}
	request, err := readRequest(c)
	if err == nil {
		_ = c.SetDeadline(time.Time{})
		switch request.command {
		case commandConnect:
			err = v.connect(ctx, c, request.target)
		case commandAssociate:
			err = v.associate(ctx, c, request.target)
		case commandBind:
			err = &replyError{replyCommand, "BIND is not offered"}
		default:
			err = &replyError{replyCommand, fmt.Sprintf("command %d", request.command)}
		}
	}
	var refused *replyError
	if errors.As(err, &refused) {
		v.log.Debug("request refused", "client", c.RemoteAddr(), "error", err)
		_ = c.SetDeadline(time.Now().Add(v.limits.Handshake))
		v.refuse(c, socksReply(refused.code, netip.AddrPort{}))
	}
}

// authenticate agrees on a method, and follows it.
func (v *service) authenticate(c *client) error {
	methods, err := readMethods(c)
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	method := v.credentials.method(methods)
	if method == methodUnaccepted {
		v.refuse(c, []byte{socks5Version, method})
		return fmt.Errorf("no method of authentication fits; the client offers %v", methods)
	}
	if _, err := c.Write([]byte{socks5Version, method}); err != nil || method == methodNone {
		return err
	}
	user, password, err := readPassword(c)
	if err == nil && v.credentials.match(user, password) {
		_, err = c.Write([]byte{passwordVersion, 0})
		return err
	}
	if err == nil {
		v.counters.authFailures.Add(1)
		err = errors.New("wrong user or password")
	}
	v.refuse(c, []byte{passwordVersion, 1})
	return err
}

// connect is the command CONNECT.
func (v *service) connect(ctx context.Context, c *client, to target) error {
	if isSelf(c.LocalAddr(), to) {
		return &replyError{replyNotAllowed, fmt.Sprintf("%s is this proxy", to)}
	}
	far, early, err := v.dialFor(ctx, c, to.String())
	if err != nil {
		return &replyError{replyOf[failureOf(err)], fmt.Sprintf("connect to %s: %s", to, err)}
	}
	v.tunnel(ctx, c.Conn, far, socksReply(replySucceeded, addrPort(far.LocalAddr())), early)
	return nil
}

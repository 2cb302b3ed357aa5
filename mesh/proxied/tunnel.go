package proxied

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"
)

const maxProxyHead = 16 << 10 // of a proxy's answers to CONNECT

// dialCONNECT opens a tunnel through an HTTP proxy (RFC 9110 §9.3.6).
func dialCONNECT(ctx context.Context, direct DialFunc, via *url.URL, addr string) (_ net.Conn, err error) {
	port := "80"
	if via.Scheme == "https" {
		port = "443"
	}
	raw, err := direct(ctx, "tcp", hostPort(via, port))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = raw.Close()
		}
	}()
	conn := raw
	if via.Scheme == "https" {
		conn = tls.Client(raw, &tls.Config{ServerName: via.Hostname(), MinVersion: tls.VersionTLS12})
	}
	request, err := connectRequest(via, addr)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	status, err := readConnectAnswer(r)
	if err != nil {
		return nil, fmt.Errorf("answer to CONNECT: %w", err)
	}
	if status[0] != '2' {
		return nil, fmt.Errorf("CONNECT %s: %s", addr, status)
	}
	return &bufferedConn{Conn: conn, r: r}, nil
}

// connectRequest returns the request for a tunnel to addr.
func connectRequest(via *url.URL, addr string) (string, error) {
	if strings.ContainsFunc(addr, func(r rune) bool { return r <= ' ' || r >= 0x7f }) { // in an IPv6 zone
		return "", fmt.Errorf("address %q is not one for a proxy", addr)
	}
	request := "CONNECT " + addr + " HTTP/1.1\r\nHost: " + addr + "\r\n"
	if via.User != nil {
		password, _ := via.User.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(via.User.Username() + ":" + password))
		request += "Proxy-Authorization: Basic " + credentials + "\r\n"
	}
	return request + "\r\n", nil
}

// readConnectAnswer reads the head of the final answer, and returns its status: three
// digits and a reason. In a tunnel no field of the head means anything.
func readConnectAnswer(r *bufio.Reader) (status string, err error) {
	left := maxProxyHead
	for {
		line, err := readHeadLine(r, &left)
		if err != nil {
			return "", err
		}
		version, status, _ := strings.Cut(line, " ")
		if status = strings.TrimLeft(status, " "); !strings.HasPrefix(version, "HTTP/1.") || !isStatus(status) {
			return "", fmt.Errorf("%.50q is not HTTP/1.1", line)
		}
		for line != "" {
			if line, err = readHeadLine(r, &left); err != nil {
				return "", err
			}
		}
		if status[0] != '1' {
			return status[:min(len(status), 100)], nil
		}
	}
}

// isStatus reports whether s is three digits, and perhaps a reason after them.
func isStatus(s string) bool {
	code, _, _ := strings.Cut(s, " ")
	return len(code) == 3 && '1' <= code[0] && code[0] <= '5' && strings.Trim(code, "0123456789") == ""
}

// readHeadLine reads one line of a head, of which left bytes may still come.
func readHeadLine(r *bufio.Reader, left *int) (string, error) {
	line, err := r.ReadSlice('\n')
	if *left -= len(line); errors.Is(err, bufio.ErrBufferFull) || *left < 0 {
		return "", errors.New("it is too long")
	}
	if errors.Is(err, io.EOF) {
		return "", io.ErrUnexpectedEOF
	}
	return strings.TrimRight(string(line), "\r\n"), err
}

// bufferedConn first returns the bytes that were read together with the proxy's answer.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
)

// askingKey is the key under which the context of a request has itself: the transport
// detaches the contexts of its dials from those of requests, but not their values.
type askingKey struct{}

// newTransport returns what connects to servers of plain HTTP. Its connections end with running.
func (v *service) newTransport(running context.Context) *http.Transport {
	return &http.Transport{
		DialContext: func(request context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := context.WithCancel(running)
			defer cancel()
			if asking, ok := request.Value(askingKey{}).(context.Context); ok {
				defer context.AfterFunc(asking, cancel)()
			}
			far, err := v.dial(ctx, address)
			if err != nil {
				return nil, err
			}
			return &farConn{far, context.AfterFunc(running, func() { _ = far.Close() })}, nil
		},
		DisableCompression:     true, // or the transport would ask for what the client did not
		MaxIdleConnsPerHost:    unusedPerHost,
		MaxIdleConns:           unusedInAll,
		IdleConnTimeout:        unusedTime,
		ResponseHeaderTimeout:  v.limits.Idle,
		ExpectContinueTimeout:  continueTime,
		MaxResponseHeaderBytes: int64(v.limits.HeaderBytes),
	}
}

// farConn is a connection to a server that ends with the service.
type farConn struct {
	net.Conn
	stop func() bool
}

// Close implements net.Conn.
func (f *farConn) Close() error {
	f.stop()
	return f.Conn.Close()
}

// CloseWrite ends the direction to the server, if the connection can do that.
func (f *farConn) CloseWrite() error {
	if half, ok := f.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return f.Close()
}

// newForwarder returns what passes on requests of plain HTTP.
func (v *service) newForwarder(transport http.RoundTripper) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		BufferPool:    &copyBuffers{},
		Rewrite: func(p *httputil.ProxyRequest) {
			asking := p.Out.Context()
			p.Out = p.Out.WithContext(context.WithValue(asking, askingKey{}, asking))
			p.Out.URL.RawQuery = p.In.URL.RawQuery // as the client wrote it
			p.Out.Trailer = p.In.Trailer           // filled in when the body has ended
			if p.Out.Body != nil {
				p.Out.Body = &requestBody{ReadCloser: p.Out.Body}
			}
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, ok := p.In.Header[name]; ok && !ofOneHop(p.In.Header, name) {
					p.Out.Header[name] = values
				}
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if b, ok := r.Body.(*requestBody); ok && b.failed.Load() {
				http.Error(w, "the body of the request is malformed, or ends too early", http.StatusBadRequest)
				return
			}
			to, _ := destination(r)
			v.replyFailure(w, to, err)
		},
	}
}

// requestBody remembers that it could not be read to its end.
type requestBody struct {
	io.ReadCloser
	failed atomic.Bool
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.failed.Store(true)
	}
	return n, err
}

// ofOneHop reports whether Connection names a header.
func ofOneHop(h http.Header, name string) bool {
	for _, list := range h["Connection"] {
		for token := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(token), name) {
				return true
			}
		}
	}
	return false
}

// copyBuffers are the buffers for bodies of responses.
type copyBuffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *copyBuffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[copyBuffer]byte); ok {
		return buf[:]
	}
	return make([]byte, copyBuffer)
}

// Put implements httputil.BufferPool.
func (b *copyBuffers) Put(buf []byte) { b.pool.Put((*[copyBuffer]byte)(buf)) }

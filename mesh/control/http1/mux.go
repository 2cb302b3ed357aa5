package http1

import (
	"context"
	"strings"
)

// Handler answers a request. The context ends when the client goes or the server stops.
type Handler func(ctx context.Context, w *Response, r *Request)

// Route answers one method of a path. GET is HEAD, too.
type Route struct {
	Method string
	Handle Handler
}

// Mux are routes by path. A path that ends in a slash is followed by one element, which may be any.
type Mux map[string]Route

// Serve is a [Handler].
func (m Mux) Serve(ctx context.Context, w *Response, r *Request) {
	route, ok := m[r.Path]
	if i := strings.LastIndexByte(r.Path, '/') + 1; !ok || i == len(r.Path) {
		r.Element = r.Path[i:]
		if route, ok = m[r.Path[:i]]; r.Element == "" {
			ok = false
		}
	}
	switch {
	case !ok:
		w.Error("404 page not found", StatusNotFound)
	case route.Method == MethodGet && r.Method == MethodHead, route.Method == r.Method:
		route.Handle(ctx, w, r)
	default:
		allow := route.Method
		if allow == MethodGet {
			allow = "GET, HEAD"
		}
		w.refuse("Method Not Allowed", StatusMethodNotAllowed, "Allow: "+allow+"\r\n")
	}
}

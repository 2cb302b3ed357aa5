// Package http1 is as much of HTTP/1.1 (RFC 9112) as a control socket needs, in a
// fraction of what net/http takes.
//
// A [Server] answers one request per connection, and the end of the connection ends the
// answer: there is no keep-alive, no chunked encoding and no pipelining. curl, Prometheus
// and the probes of Kubernetes work with that. [Do] is the client of such a server.
//
// Limits: the head of a request or an answer has 16 KiB. A body of up to 4 KiB is read and
// ignored; a larger one is refused, and so is Transfer-Encoding. Heads are read strictly: a
// line may end without a carriage return, and nothing else is forgiven.
//
// Ownership: [Server.Serve] owns its goroutines, connections and listener. All have ended when
// it returns.
package http1

// Package rpc is a client of gRPC services: calls with one request, whose answer is one
// message ([Conn.Call]) or a stream of them ([Conn.Open]).
//
// It has a client of HTTP/2 (RFC 9113) with what that takes and nothing else: one
// connection, streams with one request message each, no push, no priorities. net/http's is
// ten times as large. There is no name resolution, no balancing, no compression and no
// retry: a [Conn] is one connection, and whoever has it dials again when it ends.
//
// A Conn has two goroutines until it is closed. The reader takes frames and fills the
// buffers of streams; the writer writes frames that are queued for it, so no call waits
// for the network beyond its context, and the reader for nothing but the server. All
// state has one lock, which nobody holds while waiting.
//
// The server is not trusted. Headers, messages, what is received ahead, frames that carry
// nothing and the answers to them are bounded, and whatever a server does ends in an
// [Error] with a code of gRPC: what breaks the connection or resets a stream is
// [Unavailable]. The text of an error may be the server's.
//
// All methods of a Conn may be called concurrently; a [Stream] belongs to one goroutine. A
// Conn must be closed, and so must a Stream, or its context must end.
package rpc

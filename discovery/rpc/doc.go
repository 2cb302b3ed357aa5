// Package rpc is a client of gRPC services: calls with one request, whose answer is one
// message ([Conn.Call]) or a stream of them ([Conn.Open]).
//
// It frames messages and reads the status; the connection is that of net/http's HTTP/2
// client, and messages are bytes to it. There is no name resolution, no balancing, no
// compression and no retry: a [Conn] is one connection, and whoever has it dials again
// when it ends.
//
// The server is not trusted. Headers, messages and what is received ahead are bounded, and
// whatever a server does ends in an [Error] with a code of gRPC: what breaks the
// connection or resets a stream is [Unavailable]. The text of an error may be the
// server's.
//
// All methods of a Conn may be called concurrently; a [Stream] belongs to one goroutine. A
// Conn must be closed, and so must a Stream, or its context must end.
package rpc

// Package control is the agent's control socket: the server, what goes over the
// wire, metrics, and the client.
//
// It speaks HTTP and JSON on a unix socket, so that curl --unix-socket works,
// too. The peer's credentials decide: root and the agent's own uid may do
// everything; others whom the socket's mode admits may read, and never secrets.
//
// [Open] makes the socket and [Server.Run] serves it; [Server] needs no more of
// the agent than [Agent]. [Client] is for programs: the CLI, tests, a dashboard.
// The resources and the status themselves are defined by package agent.
//
// Limits: 64 connections, of which users other than the owner may have 48 and
// each of them 16; see http1 for the size of requests. The agent may be stopped or slow: each
// call of a Client ends within seconds, and each watch within twice that.
//
// Ownership: Run owns all goroutines of the server and returns when the last
// request and the last tunnel have ended; it then removes the socket.
package control

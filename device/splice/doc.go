// Package splice joins two connections, as proxies and forwards do.
//
// [Join] copies both ways and carries through what TCP can say: an end of one direction
// becomes a half-close (CloseWrite), and a reset becomes a reset ([Abort]). A connection
// that ends because of its context or of idleness is reset, too, so that no side takes a
// truncated stream for a whole one. A connection that has sent its end is tested from time to
// time, and the join ends when it is gone: keepalives of the socket find that out.
//
// Memory: each direction of a join takes a goroutine, and a buffer of 32 KiB while data
// moves; at most 32 directions that move much have one of 128 KiB instead. Kernel sockets and netstack connections hold no buffer while they wait for data;
// other types do. So a join of idle sockets costs little more than its two goroutines.
//
// Ownership: Join closes both connections and returns when its goroutines have ended.
// Deadlines that were set before are removed.
package splice

// Package burst moves UDP datagrams of one size in bursts: one system call for up to 64 of them,
// which the kernel cuts (UDP_SEGMENT) and joins (UDP_GRO). On systems without that, and where the
// kernel refuses, datagrams go one by one. Nothing is allocated for them.
//
// It is for relays, which have many sockets and copy what they move. WireGuard's own sockets are
// those of package bind, which sends from where packets are.
package burst

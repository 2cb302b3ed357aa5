// Package netstack is a node's tunnel interface inside the process: a gVisor TCP/IP
// stack that serves a WireGuard device as its tun.Device. It needs no privileges.
// Programs reach the mesh through Dial and Listen. Its TCP connections can be half-closed
// and reset as those of package net can, errors wrap the numbers of package syscall, and
// keepalives find out when a peer is gone.
//
// It speaks IPv6 and IPv4 with TCP, UDP and ICMP, answers echo requests, and refuses
// connections to closed ports at once.
//
// Work that is usually done per packet is done per super-packet of up to 64 KiB where
// TCP allows it. The stack sends super-packets, and Read cuts them straight into the
// buffers of its batch. Write joins the packets of a connection before the stack sees
// them. Checksums of received packets are not verified again: the packets come out of
// an authenticated tunnel.
//
// SetIngress puts a filter in front of the stack that equals the kernel's for a TUN,
// with its connection tracking. Of TCP the filter remembers only resets, since the
// stack knows its connections. It differs from the kernel's in these points:
//
//   - Fragments other than the first pass without a check: the stack drops them if
//     the first one is missing. The kernel joins fragments before it filters.
//   - A TCP connection and a connected UDP socket are known as long as they exist,
//     without timeouts, and their peers can't open them anew against the rules.
//   - Packets that this node sent before there was a filter do not count: UDP of
//     unconnected sockets and echoes are known only after the next packet sent.
//   - A handshake under SYN cookies (the backlog is full) is not known before it is
//     complete.
//   - IPv6 packets with more than seven extension headers are refused.
//
// Limits: it resolves no names, and takes every address that is not its own to be in
// the tunnel. A bounded amount of data waits for the tunnel. TCP data above it stays
// with its sender, whose Write blocks; all other packets are dropped and counted. So
// someone must keep calling Read, or call Close. A TCP connection buffers up to 24 MiB
// in each direction while it needs that, for a gigabit per second over 100 ms.
//
// Ownership: the stack's goroutines end with Close, which also breaks its
// connections. Read may be called by one goroutine at a time, all other methods by
// any. Write may change packets, and keeps none.
package netstack

// Package netstack is a node's tunnel interface inside the process: a gVisor
// TCP/IP stack that serves a WireGuard device as its tun.Device. It takes no
// privilege, and programs reach the mesh through Dial and Listen.
//
// It speaks IPv6 and IPv4 with TCP, UDP and ICMP, answers echo requests, and
// refuses connections to closed ports at once.
//
// What costs per packet is done per super-packet of up to 64 KiB where TCP
// allows it. The stack hands over super-packets, and Read cuts them straight
// into the buffers of its batch. Write joins what belongs together before the
// stack sees it. Checksums of received packets are not verified again: they come
// out of an authenticated tunnel.
//
// SetIngress puts a filter in front of the stack that equals the kernel's for a
// TUN, with its connection tracking. Of TCP it remembers only resets, since the
// stack knows its connections. It differs in this:
//
//   - Fragments but the first are let through without a look, for the stack drops
//     them without that one. The kernel joins fragments before it filters.
//   - A connection of TCP, and a connected UDP socket, is known as long as it is
//     there, without timeouts, and its peer may not open it anew against the rules.
//   - What this node sent before there was a filter makes UDP to sockets that are
//     not connected, and echoes, known only with the next packet sent.
//   - A handshake under SYN cookies (the backlog is full) is not known before it
//     ends.
//   - IPv6 packets with more than seven extension headers are refused.
//
// Limits: it resolves no names, and takes every address that is not its own to
// be in the tunnel. A fixed amount waits for the tunnel: TCP data above it stays
// with its sender, which Write then blocks, and everything else is dropped and
// counted. So somebody must go on reading, or close. A TCP connection holds up
// to 24 MiB in each direction while it needs that, for a gigabit per second over
// 100 ms.
//
// Ownership: the stack's goroutines end with Close, which also breaks its
// connections. Read may be called by one goroutine at a time, everything else
// by any. Write may change packets, and keeps none.
package netstack

// Package netstack is a node's tunnel interface inside the process: a gVisor
// TCP/IP stack that serves a WireGuard device as its tun.Device. It takes no
// privilege, and programs reach the mesh through Dial and Listen.
//
// It speaks IPv6 and IPv4 with TCP, UDP and ICMP, answers echo requests, and
// refuses connections to closed ports at once.
//
// Limits: it resolves no names, keeps no more than a fixed number of packets on
// the way to the tunnel (the rest are dropped, and TCP sends them again), and
// takes every address that is not its own to be in the tunnel.
//
// Ownership: the stack's goroutines end with Close, which also breaks its
// connections. Read may be called by one goroutine at a time, everything else
// by any.
package netstack

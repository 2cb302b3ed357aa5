// Package tun is the Linux TUN interface of a node: packets to and from the
// kernel with upstream's segmentation offloads, packets injected beside the
// kernel's, and the link's state kept as it should be.
//
// Limits: Linux only; creating an interface takes CAP_NET_ADMIN. The interface
// is never persistent: it goes when it is closed or the process ends. A link
// that already has the name is refused, whatever it is.
//
// Invariants: Configure only removes addresses that it added itself or that
// are KubeSpan's (fd…:…:…:xx02::/64). Everything happens in the network
// namespace in which Open was called, whichever thread calls later.
//
// Ownership: no goroutine. Read and Write may be called by one goroutine each
// at a time, as a WireGuard device does; everything else by any.
package tun

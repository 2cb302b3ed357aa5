// Package host observes this machine over netlink: links, addresses and default routes,
// and the gateways and DNS servers that its own traffic depends on. It also reads the
// machine's name and its operating system.
//
// It changes nothing and needs no privilege. [Host.Run] owns the subscriptions and ends
// with its context. All other functions read the kernel at each call and may be called
// concurrently. If a sandbox denies access to netlink, they return an error.
//
// Limits: of an IPv6 routing table with more than 2,048 routes one default route an
// interface; at most 16 DNS servers.
package host

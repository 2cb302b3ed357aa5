// Package host observes this machine over netlink: links, addresses and default
// routes, and what the machine's own traffic depends on (gateways and DNS
// servers). It also reads the machine's MAC address and its operating system.
//
// It changes nothing and needs no privilege. [Host.Run] owns the subscriptions
// and ends with its context; everything else reads the kernel anew at each call
// and may be called concurrently. What a sandbox refuses to tell is an error.
//
// Limits: default routes are those of the main table; at most 16 DNS servers.
package host

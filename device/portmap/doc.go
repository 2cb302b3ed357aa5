// Package portmap has the gateway of this host map ports to it, by PCP (RFC 6887), NAT-PMP
// (RFC 6886) or UPnP-IGD, in this order.
//
// A [Mapper] is told which ports to map, and whether there is a NAT at all. It asks nobody
// but the next hop of the default route that [Config].Gateway returns, and only if that has
// a private address (RFC 1918). Datagrams of others do not count. The description of a UPnP
// gateway and what it is controlled by must be at the gateway's own address.
//
// A gateway's word is untrusted. It can make this node announce a wrong address of its own,
// and nothing else. Answers are bounded; an external address that is not public is not used.
//
// Mappings are renewed after half of their lifetime. Once a minute the gateway is asked
// whether it still has them (every 10 min by UPnP): after a restart they are made again. If
// nothing answers, the gateway is asked again after 15 min, or when the host's addresses,
// routes or links change.
//
// Limits: IPv4 only; the edge build has no UPnP. [Mapper.Run] owns the goroutines and leaves
// the mappings in place: the next process takes them over, by the same nonce.
// [Mapper.Release] removes them.
package portmap

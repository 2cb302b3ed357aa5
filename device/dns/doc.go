// Package dns is the DNS server of a node.
//
// It answers for two zones itself: the domain of nodes' names, and the reverse zone of the
// mesh's network; and for the reverse names of other addresses that nodes have by the [Zone].
// Queries for these never leave the process. All others go to upstream resolvers, or are
// refused if there are none. A name that exists without records of the type asked for gets
// an empty answer, one that does not exist gets NXDOMAIN, both with the SOA record. Records
// live for [TTL], since names follow the members of the mesh at once.
//
// # Limits
//
// There are no zone transfers, updates, signatures or caches, and class IN only. Queries of
// type ANY get one HINFO record (RFC 8482). Replies by UDP have at most 1,232 bytes; longer
// ones are truncated, so that clients ask by TCP.
//
// Sources that [Config.Allowed] does not admit get no answer at all. Per source there is a
// rate, beyond which queries are dropped, and a number of connections and of queries that wait
// for upstreams; the server has such numbers in total, too. Equal queries that wait are
// asked once.
//
// A loop of resolvers ends in two ways: queries to upstreams carry an EDNS option with the
// number of servers like this one that they have passed, which refuse them beyond a few; and
// a query that comes back without it joins itself, and fails in time. An upstream that is an
// address of this server is left out.
//
// # Ownership
//
// [Server.Serve] owns its sockets and goroutines. It returns when all of them have ended.
package dns

// Package server is a discovery service that speaks Sidero's protocol. Wirespan
// agents and Talos nodes find each other through it.
//
// It keeps a set of affiliates per cluster id. An affiliate is opaque, encrypted
// data with a TTL, and the endpoints at which other members saw the node. Anyone
// who knows a cluster id can read and write that cluster. The cluster secret,
// which the server never sees, protects the contents. [Config.OnlyCluster] limits
// a server to one cluster; that is how an agent embeds it.
//
// # Embedding
//
//	srv, err := server.New(server.Config{OnlyCluster: id, TLS: tlsConfig, Log: log})
//	if err != nil {
//		return err
//	}
//	lis, err := net.Listen("tcp", ":3000")
//	if err != nil {
//		return err
//	}
//	return srv.Serve(ctx, lis) // until ctx ends
//
// [Certificate] creates the self-signed certificate whose pin clients check.
// [ReloadingCertificate] serves certificate files that another program renews.
//
// # Limits
//
// Input is untrusted. Package discovery has the limits of the protocol; limits.go
// adds those of a public server, on clusters, affiliates, connections, watches,
// message sizes and request rate. A server at its limits refuses new clients and
// clusters and continues to serve the known ones.
//
// Messages have 8 KiB at most and are not decoded before the cluster is checked and the
// rate limit admits them. Connections, waiting requests, watches, affiliates, clusters and
// answers under way are pools that all client addresses share: one address gets 38 % of a
// pool, and many leave a part for others. Each cluster has pools of affiliates and watches
// of its own, so one address gets at most 391 of its 1,024 affiliates. An IPv6 address
// counts as its /64. What an address sends is read at 128 KiB/s after a burst of 2 MiB; a
// connection counts as 4 KiB more and a refused request as 2 KiB more, so that floods of
// what is refused take bounded time. Behind a trusted proxy that limit is the proxy's.
//
// With OnlyCluster the pools are small. They then hold
// at most about 6 MB of affiliates (1,024 of 6 KiB), 32 MB of answers, 40 MB of waiting
// requests (512 with a window of 64 KiB and a stream each), and 2,048 connections and
// watches. What a watch queues for a client that does not read comes on top of that: up
// to 32 changes and 64 KiB.
//
// The default store is the memory
// of one process, and a snapshot file keeps it over a restart. Several replicas
// need a shared [Store].
//
// # Invariants
//
//   - A cluster exists only while it has affiliates or watchers.
//   - A watcher gets the state and then every change in order, or its stream ends
//     with Aborted.
//   - Expiry is measured on the monotonic clock where there is one, so that setting
//     the wall clock expires no affiliate.
//   - Cluster ids are a credential: logs show their first 8 characters, and metrics
//     nothing of them.
//
// # Ownership
//
// [New] starts nothing. [Server.Serve] owns the listener and every goroutine,
// and returns when all of them have stopped. Neither side modifies byte slices
// that were passed to a [Store] or returned by one.
package server

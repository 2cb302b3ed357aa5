// Package server is a discovery service that speaks Sidero's protocol, so that
// wirespan agents and Talos nodes can find each other through it.
//
// It keeps, per cluster id, a set of affiliates: opaque, encrypted bytes with
// a TTL, and the endpoints that members saw each other at. Anyone who knows a
// cluster id can read and write that cluster; the contents are protected by
// the cluster secret, which the server never sees. [Config.OnlyCluster] limits
// a server to one cluster, which is how an agent embeds it.
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
//	return srv.Serve(ctx, lis) // until ctx ends; stops cleanly
//
// [Certificate] makes the self-signed certificate whose pin clients check;
// [ReloadingCertificate] serves files that something else renews.
//
// # Limits
//
// Input is untrusted. The protocol's limits are those of package discovery;
// limits.go adds what a public server needs: bounds on clusters, affiliates,
// connections, watches, message sizes and request rate. With all of them
// reached the server refuses newcomers and goes on serving those it knows.
// It is one process with its state in memory: a snapshot file carries it over
// a restart, and several replicas need a shared [Store].
//
// # Invariants
//
//   - A cluster exists only while it has affiliates or watchers.
//   - A watcher sees every change after its snapshot, in order, or its stream
//     ends with Aborted.
//   - Expiry is measured on the monotonic clock where one is available: setting
//     the wall clock expels nobody.
//   - Cluster ids are a credential: logs carry their first 8 characters, and
//     metrics none.
//
// # Ownership
//
// [New] starts nothing. [Server.Serve] owns the listener and every goroutine,
// and returns when all of them have stopped. Byte slices given to a [Store]
// or received from one are never modified again by either side.
package server

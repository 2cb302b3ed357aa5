// Package service is a client of a Sidero-compatible discovery service.
//
// A [Client] publishes this node ([Client.Publish]) and follows the other members of its
// cluster ([Client.Snapshot]; [Client.Changed] signals changes). The server sees sealed
// data only and is not trusted: see package discovery for the limits of that.
//
// Where the protocol leaves a choice, the client behaves as follows:
//
//   - It connects at once. When every endpoint of the server has failed, it waits for
//     0.5 s with jitter, and after each further failure for half as long again, up to
//     60 s. The wait is reset when a connection has delivered a snapshot and the server
//     has answered the updates.
//   - It sends only changes. Every TTL/2 and on each new connection it sends everything
//     again, since the server may have lost it.
//   - It publishes nothing before the snapshot has arrived. An update that the server
//     refuses (a limit, an invalid argument) is reported and tried again later on the
//     same connection. If an update is not answered, the client connects again.
//   - It checks a "deleted" event with a List about a second later: reference servers
//     send the event also when only endpoints have expired.
//   - Affiliates survive outages. An affiliate that is missing in the snapshot of a new
//     connection is kept for one TTL: the server may have lost it, and a member that runs
//     publishes itself again within that time. A "deleted" event removes it at once. If
//     more than half are missing, that is reported as a problem.
//
// The client uses the proxy of HTTPS_PROXY and NO_PROXY, for plaintext connections too,
// and that of ALL_PROXY if HTTPS_PROXY is not set. It supports HTTP CONNECT and SOCKS5.
//
// Ownership: Run owns all goroutines. All methods may be called concurrently. Logs and
// errors contain no secret, and at most eight characters of the cluster id, which is a
// credential.
package service

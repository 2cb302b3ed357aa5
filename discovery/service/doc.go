// Package service is a client of a Sidero-compatible discovery service.
//
// A [Client] publishes this node ([Client.Publish]) and follows the other
// members of its cluster ([Client.Snapshot], with [Client.Changed] as the
// wake-up). The server sees sealed data only, and is not trusted: see package
// discovery for what that bounds.
//
// Rules, where the protocol leaves room:
//
//   - The first try is at once. After every endpoint of the server has failed,
//     the wait is 0.5 s with jitter, growing by half up to 60 s; it starts
//     over once a connection has given a snapshot and taken what is published.
//   - Only changes are sent. Everything is repeated every TTL/2 and on each new
//     connection, since the server may have lost it.
//   - An update that the server refuses (a limit, an invalid argument) is shown
//     and tried again later, but the watch stays; one that isn't answered
//     starts over. Nothing is published before the snapshot has come.
//   - A "deleted" event is checked against a List of the server about a second
//     later: reference servers also send it when only endpoints expired.
//   - What is known survives outages. What a new connection's snapshot misses
//     is kept for one TTL, since the server may have lost it, in which each
//     member publishes itself again if it lives. A "deleted" event ends that at
//     once. If more than half is missing, that is shown as a problem.
//
// HTTPS_PROXY and NO_PROXY are honoured, for plaintext connections as well,
// and ALL_PROXY where HTTPS_PROXY is not set; HTTP CONNECT and SOCKS5.
//
// Ownership: Run owns all goroutines. All methods may be called from several
// goroutines. Logs and errors hold no secret and at most eight characters of
// the cluster id, which is a credential.
package service

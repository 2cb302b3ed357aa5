// Package path decides by which of a peer's endpoints to reach it: where to send
// handshakes, when to test the path in use, and when to leave it. It is pure: time is an
// argument, and results are lists of actions.
//
// A [Peer] is in one of two states.
//
// Searching. No path is known to work. Each attempt is one handshake initiation, of which
// copies go to the candidates. The far side answers the first copy that arrives and takes
// the others for replays, and WireGuard's roaming pins the path by which the answer came.
// The first attempt sends to all candidates, staggered by rank. The fastest way there need
// not have a way back, and then the same race would be lost for ever: so the second attempt
// gives one candidate a head start, and the later ones go to one candidate at a time, in
// rotation. A candidate from which the peer itself calls goes first, since the way from there
// works. A search that leads to nothing rests between attempts, for longer and longer, until
// there is news.
//
// Settled. A path works. Silence proves nothing in WireGuard, since keepalives are not
// answered. So data without anything back for 1.5 s, 28 s without anything at all, or an
// initiation of the device's own without an answer lead to a check: some echo requests
// through the tunnel, then an initiation on the current path. If nothing comes, a search
// begins with a new initiation, for the far side may have taken the last one. The path that
// was left goes last in it. A path that loses much is tested for longer. Meanwhile
// candidates of a better rank are tried one at a time, by an initiation of their own that
// leaves the session as it is. How much those lose is not known before they are in use: so paths
// that are alike have one rank. Of the peer's addresses on one relay the first is better.
//
// Crossed initiations. When both sides initiate within a round trip, each drops the
// other's response, and WireGuard waits for 5 s. The side with the smaller public key
// begins; the other opens its NAT with an empty datagram, and waits for a moment. If they
// cross nevertheless, the smaller key starts another handshake as soon as it sees that, at
// the address from which the peer called. An initiation that left long before the peer's crosses
// none: it was lost or, as after a clock was turned back, refused, and a new one would only end
// the session that the peer has begun.
//
// Size. An [MTU] finds how large packets the path in use takes whole.
//
// Limits. A [Budget] bounds what a node sends to addresses that have never answered, since
// anyone in the cluster can make discovery name a stranger's address, and the handshakes that
// it makes for searches that have failed before. Candidates are at
// most [MaxCandidates]. If a peer is plain WireGuard, its keepalives arrive and the way to
// it is cut, an idle path is given up at the next handshake, after at most 3 min.
//
// Invariants: only initiations and empty datagrams go to more than one address. A candidate
// that has not answered gets, after its first two attempts, at most one initiation in 5 s,
// unless the peer calls from it. Step never asks to be called in the past.
package path

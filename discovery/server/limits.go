package server

import (
	"time"

	"github.com/wirespan/wirespan/discovery"
)

// Limits of a public server. The limits of the protocol are in package discovery. What
// they add up to in memory is in the package's documentation.
const (
	maxClusters = 10_000
	// maxTotalAffiliates bounds memory: an affiliate takes about 6 KiB at most.
	maxTotalAffiliates = 1 << 17
	// The limit of watchers is twice the affiliates of a cluster: a client that
	// reconnects counts twice until the server notices its dead connection.
	maxWatchersPerCluster = 2 * discovery.MaxAffiliates

	watchBuffer = 32 // notifications per watcher

	// Pools: all client addresses share these, see type pool.
	maxConnections = 1 << 15
	maxWatches     = 1 << 15
	maxPending     = 4096
	maxAnswers     = 256 << 20 // bytes

	maxStreams     = 100     // per connection, the least that RFC 9113 recommends
	maxMessageSize = 8 << 10 // the largest valid update is under 5 KiB
	maxHeaderSize  = 8 << 10

	handshakeTimeout = 10 * time.Second
	messageTimeout   = 10 * time.Second // for the message of a request, after its headers
	keepaliveMinimum = 5 * time.Second  // between pings; clients ping every 10 s or less often
	keepaliveTime    = time.Minute      // of silence before a ping: with the timeout, how late a vanished watcher is noticed
	keepaliveTimeout = 20 * time.Second
	idleTimeout      = 5 * time.Minute // of a connection without a stream
	stopTimeout      = 5 * time.Second

	requestRate   = 15 // per second and client address
	requestBurst  = 60
	maxWait       = time.Minute // longest wait for a token, also without a deadline
	sweepInterval = time.Minute
	maxAddresses  = 1 << 16 // client addresses with a rate limit of their own

	// What an address sends is read at this rate, whatever it is: a request that is
	// refused, or never becomes one, costs time, too.
	byteRate       = 128 << 10 // per second
	byteBurst      = 2 << 20
	connectionCost = 4 << 10          // of the handshake, in bytes beyond its own
	refusalCost    = 2 << 10          // of a request
	maxDebt        = 10 * time.Second // then connections are closed

	maxVersionLabels = 64

	maxSnapshotSize = 1 << 30 // bytes; maxTotalAffiliates take less
)

// Pools of a server for one cluster, which is part of an agent on what may be a small
// box. A member has one connection with one watch, and for a moment two of each.
const (
	ownConnections = 2 * discovery.MaxAffiliates
	ownWatches     = maxWatchersPerCluster
	ownPending     = 512
	ownAnswers     = 32 << 20 // bytes; a full cluster is 4.7 MiB
)

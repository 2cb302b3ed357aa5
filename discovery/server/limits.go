package server

import "time"

// Limits of a public server. The limits of the protocol are in package discovery.
const (
	maxClusters = 10_000
	// maxTotalAffiliates bounds memory: an affiliate takes about 6 KiB at most.
	maxTotalAffiliates = 1 << 17
	// The limits of watchers are twice the affiliates of a cluster: a client that
	// reconnects counts twice until the server notices its dead connection.
	maxWatchersPerCluster = 2048
	maxWatchersPerAddress = 2048

	watchBuffer = 32 // notifications per watcher

	maxConnections           = 1 << 16
	maxConnectionsPerAddress = 4096
	maxStreams               = 256       // per connection
	maxMessageSize           = 256 << 10 // the largest valid update is under 5 KiB
	maxHeaderSize            = 8 << 10

	handshakeTimeout = 10 * time.Second
	keepaliveMinimum = 5 * time.Second // between pings; clients ping every 10 s or less often
	keepaliveTime    = time.Minute     // of silence before a ping: with the timeout, how late a vanished watcher is noticed
	keepaliveTimeout = 20 * time.Second
	idleTimeout      = 5 * time.Minute // of a connection without a stream
	stopTimeout      = 5 * time.Second

	requestRate   = 15 // per second and client address
	requestBurst  = 60
	maxWait       = time.Minute // longest wait for a token, also without a deadline
	sweepInterval = time.Minute
	maxAddresses  = 1 << 16 // client addresses with a rate limit of their own

	maxVersionLabels = 64

	maxSnapshotSize = 1 << 30 // bytes; maxTotalAffiliates take less
)

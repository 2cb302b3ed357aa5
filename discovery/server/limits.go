package server

import "time"

// Bounds of a server that strangers can reach, beyond the protocol's own in
// package discovery.
const (
	maxClusters = 10_000
	// maxTotalAffiliates bounds memory: an affiliate takes at most about 6 KiB.
	maxTotalAffiliates = 1 << 17
	// Twice the affiliates of a cluster, since a client that reconnects is
	// counted twice until its dead connection is noticed.
	maxWatchersPerCluster = 2048
	maxWatchersPerAddress = 2048

	watchBuffer = 32 // notifications per watcher

	maxConnections           = 1 << 16
	maxConnectionsPerAddress = 4096
	maxStreams               = 256       // per connection
	maxMessageSize           = 256 << 10 // the largest valid update is under 5 KiB
	maxHeaderSize            = 8 << 10

	handshakeTimeout = 10 * time.Second
	keepaliveMinimum = 5 * time.Second // clients ping every 10 s or more
	keepaliveTime    = time.Minute     // how soon a vanished watcher is noticed
	keepaliveTimeout = 20 * time.Second
	idleTimeout      = 5 * time.Minute // of a connection without any stream
	stopTimeout      = 5 * time.Second

	requestRate   = 15 // per second and client address
	requestBurst  = 60
	maxWait       = time.Minute // for a token, when the request has no deadline
	sweepInterval = time.Minute
	maxAddresses  = 1 << 16 // with a rate limit of their own

	maxVersionLabels = 64

	maxSnapshotSize = 1 << 30 // bytes; what maxTotalAffiliates can fill
)

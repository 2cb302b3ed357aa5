package discovery

import "time"

// Limits of the Sidero discovery protocol. The server refuses what exceeds them; the
// client does not send it, and ignores it when it is received.
const (
	// MaxClusterIDLength bounds a cluster id, in bytes; the minimum is 1.
	MaxClusterIDLength = 256
	// MaxAffiliateIDLength bounds an affiliate id, in bytes; the minimum is 1.
	MaxAffiliateIDLength = 256
	// MaxAffiliateDataSize bounds the sealed data of one affiliate, in bytes.
	MaxAffiliateDataSize = 2048
	// MaxEndpointSize bounds one sealed endpoint, in bytes: the size of a sealed IPv6
	// address with its port.
	MaxEndpointSize = 32
	// MaxTTL is the longest lifetime that an update may ask for.
	MaxTTL = 30 * time.Minute
	// MaxAffiliates bounds the affiliates of one cluster.
	MaxAffiliates = 1024
	// MaxEndpoints bounds the endpoints of one affiliate: its own, and those that
	// other members observed.
	MaxEndpoints = 64
)

package discovery

import "time"

// Limits of the Sidero discovery protocol, the same on both sides: the server
// refuses more, the client neither sends nor believes more.
const (
	// MaxClusterIDLength bounds a cluster id, in bytes; the minimum is 1.
	MaxClusterIDLength = 256
	// MaxAffiliateIDLength bounds an affiliate id, in bytes; the minimum is 1.
	MaxAffiliateIDLength = 256
	// MaxAffiliateDataSize bounds the sealed data of one affiliate, in bytes.
	MaxAffiliateDataSize = 2048
	// MaxEndpointSize bounds one sealed endpoint, in bytes: exactly a sealed
	// IPv6 address with its port.
	MaxEndpointSize = 32
	// MaxTTL is the longest life an update may ask for.
	MaxTTL = 30 * time.Minute
	// MaxAffiliates bounds the affiliates of one cluster.
	MaxAffiliates = 1024
	// MaxEndpoints bounds the endpoints of one affiliate, its own and those
	// that others saw it at.
	MaxEndpoints = 64
)

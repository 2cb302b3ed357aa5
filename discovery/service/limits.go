package service

import "github.com/wirespan/wirespan/discovery"

// What a message may hold follows from the limits of the protocol, with some bytes for
// the tag and length of each field.
const (
	overhead         = 8
	maxAffiliateSize = discovery.MaxAffiliateIDLength + discovery.MaxAffiliateDataSize +
		discovery.MaxEndpoints*(discovery.MaxEndpointSize+overhead) + 4*overhead
	maxSnapshotSize = discovery.MaxAffiliates * maxAffiliateSize // 5 MB
	maxAnswerSize   = 4 << 10                                    // of requests that return no affiliates

	// A server sends one affiliate per change; a few leave it the freedom to join some.
	maxDeltaAffiliates = 8
	maxDeltaSize       = maxDeltaAffiliates * maxAffiliateSize

	// More affiliates than the limit are a problem that the table reports. What is far
	// beyond it is not decoded.
	maxEntries = 2 * discovery.MaxAffiliates
)

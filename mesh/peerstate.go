package mesh

import (
	"fmt"
	"slices"
)

var peerStateNames = []string{
	PeerStateUnknown: "unknown",
	PeerStateUp:      "up",
	PeerStateDown:    "down",
}

// String returns the name that Talos shows.
func (s PeerState) String() string {
	if s < 0 || int(s) >= len(peerStateNames) {
		return fmt.Sprintf("PeerState(%d)", int(s))
	}
	return peerStateNames[s]
}

// MarshalText returns String, or an error for an undefined state.
func (s PeerState) MarshalText() ([]byte, error) {
	if s < 0 || int(s) >= len(peerStateNames) {
		return nil, fmt.Errorf("peer state %d: no such state", int(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (s *PeerState) UnmarshalText(b []byte) error {
	i := slices.Index(peerStateNames, string(b))
	if i < 0 {
		return fmt.Errorf("peer state %.20q: not one of %q", b, peerStateNames)
	}
	*s = PeerState(i)
	return nil
}

package mesh

import (
	"crypto/sha256"
	"fmt"
)

// NodeIDSize is the length of a node id before encoding, in bytes.
const NodeIDSize = 32

// maxNodeIDLength is the length of the longest encoding, in which every group has
// five bits.
const maxNodeIDLength = NodeIDSize*8/5 + 1

// NodeIDFromBytes encodes 32 random bytes as a node id, as Talos does.
func NodeIDFromBytes(random [NodeIDSize]byte) string { return encodeBase62(random[:]) }

// DecodeNodeID returns the bytes that [NodeIDFromBytes] encoded. It accepts only
// what NodeIDFromBytes writes, so that a truncated or edited id is noticed.
func DecodeNodeID(nodeID string) ([NodeIDSize]byte, error) {
	if len(nodeID) > maxNodeIDLength {
		return [NodeIDSize]byte{}, fmt.Errorf("node id of %d characters: at most %d", len(nodeID), maxNodeIDLength)
	}
	b, err := decodeBase62(nodeID)
	if err != nil {
		return [NodeIDSize]byte{}, fmt.Errorf("node id %q: %w", nodeID, err)
	}
	if len(b) != NodeIDSize {
		return [NodeIDSize]byte{}, fmt.Errorf("node id %q: decodes to %d bytes, not %d", nodeID, len(b), NodeIDSize)
	}
	id := [NodeIDSize]byte(b)
	if canonical := NodeIDFromBytes(id); canonical != nodeID {
		return [NodeIDSize]byte{}, fmt.Errorf("node id %q: not the canonical form %q", nodeID, canonical)
	}
	return id, nil
}

// NodeIDOfKey returns the node id of a device that speaks WireGuard and is no node. It follows
// from the device's public key, and nobody can sign for it.
func NodeIDOfKey(key Key) string {
	return NodeIDFromBytes(sha256.Sum256(append([]byte("wirespan static peer\x00"), key[:]...)))
}

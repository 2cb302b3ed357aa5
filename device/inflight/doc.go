// Package inflight bounds the packets that are under way inside a WireGuard
// device, between its data plane and its UDP socket.
package inflight

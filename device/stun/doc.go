// Package stun encodes and decodes STUN binding messages (RFC 8489), and answers binding
// requests.
//
// It does no I/O, reads no clock and starts no goroutine. It knows what a node needs to learn
// the address at which others see it: binding requests and their responses, with
// XOR-MAPPED-ADDRESS, ERROR-CODE, UNKNOWN-ATTRIBUTES and FINGERPRINT, and CHANGE-REQUEST and
// OTHER-ADDRESS of RFC 5780, as a client. There are no credentials.
//
// Messages come from anyone. Parse allocates nothing and reads no further than the message.
//
// Limits of a [Server]: it answers each address at a bounded rate, and all together at
// another. A request of [AppendRequest] is never smaller than its answer. Requests of
// other clients may have 20 bytes; the answer has 32 (IPv4) or 44 (IPv6).
package stun

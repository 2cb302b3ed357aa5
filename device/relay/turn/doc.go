// Package turn encodes and decodes the messages of TURN (RFC 8656): requests with long-term
// credentials (MD5 and HMAC-SHA1, RFC 8489), indications, channel data, and the frames of both
// in a stream.
//
// It opens nothing, reads no clock and starts no goroutine. Bytes come from anyone: [Parse] and
// [Frame] allocate nothing, read no further than the message, and take a message of at most
// [MaxMessage] bytes. Values of a [Message] are parts of the bytes that it was read from.
package turn

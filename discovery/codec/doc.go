// Package codec encrypts and decrypts what a discovery service stores, in the form of
// Sidero's protocol.
//
// A discovery server stores sealed data that it cannot read. An affiliate is encrypted
// with AES-256-GCM under the cluster secret, with a random nonce. An endpoint is
// encrypted with AES-256-ECB, which is deterministic, so that a server recognises the
// same endpoint from several members. ECB hides the address from the server but
// authenticates nothing: an endpoint is a hint where to try, not a proof.
//
// All opened data is untrusted. It is bounded and checked: a field that does not parse is
// left out and named in a [discovery.Problem]; no input causes a panic. An affiliate's
// data must contain the id that it is stored under, so that a server cannot serve the
// data of one member as another's. A server can still replay old data and hide members:
// the protocol has no defence against that.
//
// The package does no I/O, reads no clock, starts no goroutine and takes its randomness
// as an argument. Returned slices are new and belong to the caller; arguments are only
// read.
package codec

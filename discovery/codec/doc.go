// Package codec seals and opens what goes through a discovery service, in the
// form of Sidero's protocol.
//
// A discovery server stores sealed data that it can't read. An affiliate is
// AES-256-GCM under the cluster secret with a random nonce; endpoints are
// AES-256-ECB, deterministic, so that a server recognises the same endpoint
// reported by several members. ECB hides the address from the server but
// authenticates nothing: an endpoint is a hint where to try, never proof.
//
// Everything opened here is untrusted. It is bounded and cleaned: what doesn't
// parse is left out and named in a [discovery.Problem]; nothing panics. An
// affiliate's data must name the id it is stored under, so a server can't serve
// one member's data as another's. It can still replay old data or hide members:
// the protocol has no defence against that.
//
// The package does no I/O, reads no clock, starts no goroutine and takes its
// randomness as an argument. Results are fresh slices that belong to the caller;
// arguments are only read.
package codec

// Package offload joins TCP and UDP packets of one flow into super-packets and
// cuts super-packets into packets: what a network card's segmentation and
// receive offloads do, for data planes that exchange super-packets with a
// kernel or a network stack.
//
// It never moves payload. A [Segmenter] writes the headers and checksums of
// segments whose payload already lies in its place. A [Coalescer] says which
// packets of a batch make one super-packet, and [Run.Seal] makes the header of
// the first that of the whole; the caller gathers header and payloads with
// vectored I/O.
//
// Coalescing is as strict as Linux' receive offload (GRO): only what segmenting
// would give back is joined, with one exception that Linux shares: packets that
// may not be fragmented and all carry the same IPv4 identification get
// consecutive ones (which mean nothing on such packets, RFC 6864).
//
// Inner checksums are not verified. The packets come out of an authenticated
// tunnel, so only their sender could have damaged them, and the checksum of a
// super-packet is computed anew.
//
// Limits: batches of [MaxBatch] packets; coalescing wants plain TCP or UDP over
// IPv4 without options or IPv6 without extension headers, and whatever else
// comes is left alone. Segmenting takes both, in headers up to [MaxHeader] bytes.
//
// Invariants: packets of one flow keep their order. Nothing allocates, and
// nothing outside the slices passed in is read or written, whatever the packets
// contain.
//
// Ownership: no goroutine and no lock; one caller at a time per value. Slices of
// a caller are not kept after a call.
package offload

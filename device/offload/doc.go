// Package offload joins TCP and UDP packets of a flow into super-packets, and cuts
// super-packets into packets. It does what a network card's segmentation and
// receive offloads do, for data planes that exchange super-packets with a kernel or
// a network stack.
//
// It never moves payload. A [Segmenter] writes the headers and checksums of segments
// whose payload is already in its place. A [Coalescer] finds the packets of a batch
// that make one super-packet, and [Run.Seal] turns the header of the first into that
// of the super-packet. The caller gathers header and payloads with vectored I/O.
//
// Coalescing is as strict as Linux' receive offload (GRO): it joins only packets
// that segmenting would give back unchanged. The one exception is Linux', too:
// packets that may not be fragmented and all carry the same IPv4 identification get
// consecutive ones, which mean nothing on such packets (RFC 6864).
//
// Inner checksums are not verified. The packets come out of an authenticated tunnel,
// so only their sender could have damaged them. The checksum of a super-packet is
// computed anew.
//
// Limits: batches of [MaxBatch] packets. Coalescing joins plain TCP or UDP over IPv4
// without options or IPv6 without extension headers, and leaves all other packets
// alone. Segmenting takes options and extension headers, in headers up to
// [MaxHeader] bytes.
//
// Invariants: packets of a flow keep their order. Nothing allocates. Nothing outside
// the slices passed in is read or written, whatever the packets contain.
//
// Ownership: no goroutine and no lock. Each value has one caller at a time, and
// keeps no slice of the caller after a call.
package offload

// Package tun is the Linux TUN interface of a node: packets to and from the
// kernel with its segmentation offloads, packets injected beside the kernel's,
// and the link's state kept as it should be.
//
// Data moves without copies. The kernel hands over up to 64 KiB of a stream at a
// time. Read scatters such a super-packet with readv over the buffers of its
// packets, guessing headers and segment size from the one before, so that only
// headers and checksums remain to be written; a wrong guess costs a copy. It
// goes on until the kernel has nothing more or the batch is full. Write finds
// the packets of a batch that make super-packets (package offload), and gathers
// each with one writev.
//
// Limits: Linux only; creating an interface takes CAP_NET_ADMIN. An interface
// made here is never persistent: it goes when it is closed or the process ends.
// [Open] refuses a link that already has the name, whatever it is; [Attach] and
// [FromFile] take over what others made.
//
// Invariants: Configure only removes addresses that it added itself or that
// are KubeSpan's (fd…:…:…:xx02::/64). Everything happens in the network
// namespace in which Open was called, whichever thread calls later; with Attach
// and FromFile, in the one that the link was moved to. Packets of one flow keep
// their order. A malformed packet, or one that its buffer can't hold, is dropped
// and counted, and never ends Read or Write.
//
// Ownership: Open starts no goroutine; Attach and FromFile start one, which ends
// with Close. Read may be called by one goroutine at a time, everything else by
// any.
package tun

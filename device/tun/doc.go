// Package tun is the Linux TUN interface of a node. It moves packets to and from the
// kernel with the kernel's segmentation offloads, injects packets beside those of the
// kernel, and keeps the link's state as it should be.
//
// Data moves without copies. The kernel hands over up to 64 KiB of a stream at a
// time, as a super-packet. Read scatters it with readv over the buffers of its
// packets: it expects headers and segment size to be those of the super-packet
// before, so that only headers and checksums remain to be written. If they differ,
// the data is copied once. Read goes on until the kernel has no more packets or the
// batch is full. Write finds the packets of a batch that make super-packets (package
// offload), and gathers each with one writev.
//
// Limits: Linux only. Creating an interface takes CAP_NET_ADMIN. An interface created
// here is never persistent: it goes when it is closed or the process ends. [Open]
// refuses a link that has the name already, whatever it is; [Attach] and [FromFile]
// take over links that other programs made.
//
// Invariants: Configure removes only addresses that it added itself or that are
// KubeSpan's (fd…:…:…:xx02::/64). All operations happen in the network namespace in
// which Open was called, whichever thread calls later; with Attach and FromFile, in
// the one to which the link was moved. Packets of a flow keep their order. A malformed
// packet, or one larger than its buffer, is dropped, and never ends Read or Write.
//
// Ownership: Open starts no goroutine. Attach and FromFile start one, which ends with
// Close. Read may be called by one goroutine at a time, all other methods by any.
package tun

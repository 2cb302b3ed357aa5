package bind

// Stats is a snapshot of what a Bind does, for diagnostics.
type Stats struct {
	// Dropped counts received datagrams larger than the buffer meant for them.
	Dropped uint64
	IPv4    Offload
	IPv6    Offload
}

// Offload says what the kernel does for one address family.
type Offload struct {
	Open    bool // there is a socket
	Send    bool // the kernel segments bursts
	Receive bool // the kernel coalesces bursts
}

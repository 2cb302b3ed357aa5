package mesh

import "net/netip"

// Record is what a node adds to its affiliate and signs together with it. The zero
// Record means that the affiliate is unsigned: anyone who knows the cluster's secret can
// have made it.
type Record struct {
	// Sequence grows with every change of the affiliate: of two records the one with the
	// higher sequence is newer. It is at least the node's clock in milliseconds, and never
	// zero.
	Sequence uint64
	// Instance is a random number of the process that signed, and Start the first sequence
	// that it used. With them two processes that share an identity are told apart.
	Instance uint64
	Start    uint64

	Ephemeral bool // the identity ends with the process
	Left      bool // the node has left the mesh

	SecretNumber uint64   // of the newest secret of the mesh that the node has
	Statement    string   // of the mesh's authority, which the node repeats; empty if it repeats none
	NextKey      Key      // the node changes its WireGuard key to this one soon; zero: to none
	Prepared     []KeyTag // next keys of others for which the node has peers

	Relay         uint16           // the port at which the node offers a relay, by UDP, TCP and TLS; 0: it offers none
	RelayNetworks []netip.Prefix   // private ones in which it relays
	Relayed       []netip.AddrPort // those of the endpoints that are relayed addresses
}

// Signed reports whether there is a record.
func (r *Record) Signed() bool { return r.Sequence != 0 }

// Newer reports whether r is of a later state of the node than o. A signed record is
// newer than an unsigned one.
func (r *Record) Newer(o *Record) bool {
	return r.Sequence > o.Sequence || r.Sequence == o.Sequence && r.Instance > o.Instance
}

// Package state stores what a node needs after a restart: its keys ([Keys]), the
// cluster that it founded or joined ([Cluster]), a founder's join tokens ([Enrolments]),
// the last time it ran ([Clock]), the identities of its peers and the last firewall policy
// ([Memory]).
//
// Each of them is a small file in one directory ([Dir]), which one process locks.
// Writes are atomic and synced. A damaged file is an error that names the file and the
// remedy; the file is not overwritten. The recorded time and the join tokens are the
// exceptions: a damaged file counts as none. Keys and the cluster's secret are in files of mode 0600 and
// appear in no error.
//
// Limits: a file has at most 16 MiB. The package starts no goroutine. Several
// goroutines may use a Dir and Enrolments; a Clock and a Memory belong to one.
package state

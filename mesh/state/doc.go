// Package state keeps what a node must know after a restart: its keys
// ([Keys]), the cluster that it founded or joined ([Cluster]), the last good
// time ([Clock]), and which identities it has seen and which policy it applied
// ([Memory]).
//
// Everything is a small file in one directory ([Dir]), of which one process
// holds the lock. Writes are atomic and synced. A damaged file is an error that
// names the file and the way out; it is never overwritten. Keys and the
// cluster's secret are in files of mode 0600 and appear in no error.
//
// Limits: a file has at most 16 MiB. The package starts no goroutine; a Dir may
// be used by several, a Clock and a Memory belong to one.
package state

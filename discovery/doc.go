// Package discovery is what all ways of finding the other members have in
// common: what a registry publishes ([Local]) and shows ([Snapshot]), the merge of
// several registries ([Merge]), and how long what a source stops listing is kept
// ([Table]). It also has the limits of the Sidero discovery protocol.
//
// The package does no I/O, reads no clock and starts no goroutine: time is an
// argument. It is untrusted data that passes through here; package
// discovery/codec opens, bounds and cleans it. Package discovery/service is a
// client of the protocol, package discovery/server a server.
package discovery

// Package static is the registry of the peers that the administrator of this node has
// written to a file: nodes that are to be found without discovery, and devices that only
// speak WireGuard.
//
// [New] reads the file, and [Registry.Run] looks every ten seconds whether it has changed,
// as long as it runs. A file that can't be used leaves the peers as they were, and is a
// problem of the snapshot. The package knows nothing of the file's format.
//
// Its affiliates are trusted as the configuration is ([mesh.Affiliate.Static]). What a node
// publishes goes nowhere.
package static

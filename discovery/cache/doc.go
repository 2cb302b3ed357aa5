// Package cache keeps affiliates in a file, so that a node that starts while no discovery
// service answers still finds its mesh.
//
// The file is sealed with a key that follows from the cluster's secret and a key of this
// node alone: neither another member nor who can write the file, but can't read this node's
// keys, can make up one. So signatures are not kept; they were verified before. Of an older
// file, the pins tell what has changed since.
//
// The package decides neither what is worth keeping nor when it is written: the caller does.
// It starts no goroutine. A [Cache] belongs to one.
package cache

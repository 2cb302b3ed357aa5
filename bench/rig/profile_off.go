//go:build !profile

package rig

// profile is only in the program that `make pgo` builds.
func profile() {}

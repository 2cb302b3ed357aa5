//go:build !profile

package rig

// profile does nothing but in the program that `make pgo` builds.
func profile() {}

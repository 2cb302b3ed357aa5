// Package memory fits the Go runtime's memory management to a data plane.
package memory

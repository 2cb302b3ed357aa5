// Package contract holds what the loop relies on, as tests: each of the four
// interfaces that package agent declares has a contract, and the part in memory
// (package agenttest) passes the same one as the real part. So a test of the loop
// on fakes says something about the loop on a kernel.
//
// The fakes' tests are here, those of the real parts in package mesh/node, which
// knows them all. What a contract does not say, the loop must not rely on.
package contract

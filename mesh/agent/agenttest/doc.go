// Package agenttest holds what tests of the loop run it on: a data plane, a
// registry, a firewall and a host in memory, and the contracts that these and
// the real ones pass.
//
// Each contract ([DeviceContract], …) takes a function that opens one of its
// kind; the tests of packages device, discovery/service, firewall/nft and
// mesh/host call it with theirs. What a contract does not say, the loop must
// not rely on.
//
// Fields of the fakes are changed under their With or Change, or before the
// loop runs. Times are those of a testing/synctest bubble where there is one.
package agenttest

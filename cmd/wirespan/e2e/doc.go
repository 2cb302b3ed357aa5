// Package e2e runs the real binary on real packets, in network namespaces of its
// own. It holds tests only; they need root.
//
// A scenario is a function of a [lab], listed in TestNetns:
//
//	func scenarioGreeting(l *lab) {
//		a, b := l.host("a").node(""), l.host("b").node("") // two machines on a switch
//		b.join(a.found())                                  // an agent on each
//		l.allUp(a, b)                                      // until both see the other up
//		a.pings(b)
//	}
//
// lab_test.go makes the networks, node_test.go runs agents and asks them,
// process_test.go runs programs; the other files hold scenarios, named after what
// they are about. The lab ends every process and removes every namespace when the
// test ends, whatever its outcome, and a later run removes what a killed one left.
//
// Rules: hosts are network namespaces that the lab made, without a way out, so that
// no packet leaves this machine; a scenario waits with eventually, never by
// sleeping; it asserts no durations; all scenarios run in parallel.
//
// Run one with
//
//	go test -run TestNetns/Harvest ./cmd/wirespan/e2e
//
// WIRESPAN_NETNS_LONG=1 makes waits as long as in real life. The soak has its own
// target, make soak.
package e2e

// Package e2e runs the real binary on real packets, in network namespaces of its own. It
// contains only tests, which need root.
//
// The files lab_*.go are the lab: networks, nodes, processes, traffic and captures. All
// other files contain scenarios and are named after their subject. A scenario is a
// function of a [lab], listed in scenarios (e2e_test.go):
//
//	// scenarioGreeting checks that a node that joins reaches the founder.
//	func scenarioGreeting(l *lab) {
//		a, b := l.host("a").node(""), l.host("b").node("") // two hosts on a switch, an agent on each
//		b.join(a.found())                                  // a founds a cluster, b joins with its token
//		l.allUp(a, b)                                      // waits until each has the other with state up
//		a.pings(b)
//	}
//
// The parts of the lab:
//
//	network      hosts on a switch; tools and connections on a host
//	site         a host in a network of its own, behind a gateway
//	node         an agent: how to configure and start it, and to ask it
//	process      a program on a host: its end, log and memory
//	discovery    a discovery server on a host that is not a node
//	kubernetes   etcd and kube-apiserver on a host; kubernetes_api: Nodes, tokens, manifests
//	expect       what scenarios wait for: allUp, leads, condition, calm, refuses …
//	kernel       rules, routes and sysctls of a host, before and after
//	capture      packets on a link
//	leaks        packets on the switch that should be in the tunnel
//	traffic      packets without a pause, for the leak detector
//	echo         connections that outlive an agent
//	download     HTTP through the mesh
//	turn         requests to a relay
//	tunnel       a tunnel without agents, wirespan's or upstream's
//	flow         checked streams; datagram: checked datagrams
//	badpath      loss, delay and reordering between two ends
//	nonft        a kernel without nftables
//	setup        tools, the binary, and the removal of what killed runs left
//	self         tests of the lab itself
//
// Rules for scenarios:
//
//   - Hosts are network namespaces of the lab and have no path out of it: no packet leaves
//     this machine.
//   - A scenario waits with eventually, or with a function of expect that does. It never
//     sleeps.
//   - It asserts no duration; limits of eventually are generous.
//   - All scenarios run in parallel. Names of interfaces and files must not collide; the
//     lab makes unique ones.
//   - The lab ends every process and removes every namespace when the test ends, whatever
//     its outcome.
//
// Run one scenario with
//
//	go test -run TestNetns/Harvest ./cmd/wirespan/e2e
//
// With WIRESPAN_NETNS_LONG=1 scenarios wait as long as in real operation. The soak has its
// own target, make soak.
package e2e

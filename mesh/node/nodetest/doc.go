// Package nodetest runs meshes of whole nodes in memory, in virtual time, without
// root. A test of hours on lossy lines behind a chain of NATs takes milliseconds.
//
//	node.Node (agent, state, device, wireguard-go)         Hub
//	   ⇅ packets            ⇅ datagrams                     ⇅ discovery
//	 Stack                 Bind ⇄ Host ⇄ Router ⇄ Host …   client
//
// Real are package node's assembly, the loop, and all of package device with
// upstream's WireGuard and its cryptography. In memory are what they run on:
//
//   - [Router] carries datagrams between hosts, through gateways that translate or
//     filter ([Kind]) and over lines with loss and delay ([Line]). It captures and
//     drops datagrams as a test asks it to.
//   - [Host] is a machine: its addresses, its UDP sockets.
//   - [Stack] is the IP stack of a node. It answers pings.
//   - [Hub] is the discovery service.
//
// # Writing a scenario
//
// A [Mesh] joins all that. It belongs in a bubble of testing/synctest, where time
// passes only while everything waits:
//
//	func TestNewAddress(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			m := nodetest.New(t)
//			home := m.Internet().Behind(nodetest.PortRestricted, "203.0.113.1")
//			a := m.Start(m.Internet().Host("192.0.2.1", "2001:db8::1"))
//			b := m.Start(home.Host("192.168.0.2"))
//			m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(a, b) })
//			initiations := m.Capture(nodetest.Messages(nodetest.Initiation))
//			a.Move("198.51.100.7") // Host is part of Node, as is agent.Agent
//			if !a.Reaches(b) {
//				t.Error("the session did not follow")
//			}
//			if n := len(initiations.Datagrams()); n != 0 {
//				t.Errorf("%d handshakes", n)
//			}
//		})
//	}
//
// Assert what must hold whatever the timing: that all get up, that none goes down, how
// many handshakes there were. Durations are exact in virtual time, but WireGuard's
// jitter is random, and goroutines that are ready at the same moment run in any order.
// So give [Mesh.Await] a limit that is much longer than needed; it costs nothing.
// `go test -v` shows the nodes' logs, with the time of the bubble (from 2000-01-01).
//
// The order of events by default: a new node reads what the hub has and initiates at
// once; the others hear of it after [HubDelay], and a datagram takes twice
// [DefaultDelay]. So the first initiation of the new node meets hosts that do not know
// it yet, and theirs meets no other. With a longer way, initiations cross.
//
// # Limits
//
// In a bubble there must be no socket of the kernel, since a goroutine that waits for
// one counts as busy. So a node has neither a control socket nor that of wg(8). The
// same holds for goroutines of gVisor's stack, which wait outside of the scheduler's
// sight: hence Stack. Connections through the mesh, embedded discovery servers and the
// TUN backend are for tests in real time (packages netstack, server and e2e).
//
// A [Line] has no MTU and no bandwidth, and loses datagrams independently. Losses
// follow from the seed and the order of the datagrams, which differs between runs.
//
// # Ownership
//
// What a Mesh starts ends with its test, in the bubble. Memory does not: peers of
// upstream's device must never be collected (see keep.go), and refer to their mesh. All
// scenarios of this package take some 20 MB, so `go test -count=100` takes 2 GB, and the
// collector's time grows with it.
package nodetest

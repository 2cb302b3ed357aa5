// Package agent is the loop that joins discovery, decision and device.
//
// It is level-triggered: each wake-up (affiliates changed, handshake seen, host
// changed, reload, tick) takes everything known, calls [mesh.Decide] once and
// applies the whole desired state; adapters diff against what is really there,
// so that outside interference heals on the next tick. An apply that fails is
// retried with backoff, shows as a condition and never stops the loop.
//
// The loop declares what it needs ([Device], [Registry], [Firewall], [Host]) and
// knows no implementation of it; package mesh/node wires. What people see is made
// here: [Resources] and [Status]. Package agenttest has the in-memory parts for
// tests, and the contracts that every part must pass.
//
// Order: a network is routed before the device gets the peer that has it, and
// taken from the device before it is no longer routed, so that its packets never
// leave in the clear.
//
// Ownership: all of an Agent's state belongs to the goroutine in [Agent.Run];
// others see the resource store and an immutable [Status]. Stopping keeps the
// affiliate (it has a TTL, so a restart does not flap the mesh); leaving
// deletes it.
package agent

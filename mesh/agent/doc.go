// Package agent is the loop that joins discovery, decision and device.
//
// It is level-triggered: each wake-up (affiliates changed, handshake seen, host
// changed, reload, tick) takes everything known, calls [mesh.Decide] once and
// applies the whole desired state; adapters diff against what is really there,
// so that outside interference heals on the next tick. An apply that fails is
// retried with backoff, shows as a condition and never stops the loop.
//
// The package also owns what stands around the loop: the state directory
// ([State]), the view of this host ([Host]), the resources and the status that
// people see ([Resources], [Status]), and the control socket ([Control]).
//
// Ownership: all of an Agent's state belongs to the goroutine in [Agent.Run];
// others see the resource store and an immutable [Status]. Stopping keeps the
// affiliate (it has a TTL, so a restart does not flap the mesh); leaving
// deletes it.
package agent

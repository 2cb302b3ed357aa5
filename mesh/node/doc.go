// Package node assembles a whole node: state directory, cluster, data plane, firewall,
// discovery clients, the embedded discovery server of a founder, the loop, and the
// control socket.
//
// [Open] creates a [Node] from a configuration and [Node.Run] runs it. `wirespan up` does
// this, and so does another program that wants to be a member of a mesh. [Leave],
// [RestoreRules] and [Token] need no running agent: they implement `wirespan down`,
// `wirespan firewall restore` and `wirespan token`. [Machine]
// replaces parts of the machine below a node; package nodetest uses that to run whole
// meshes in memory.
//
// The package connects adapters with the interfaces of the loop. It decides only what
// depends on this machine: the backend, with or without nftables, and whether stopping
// means leaving. Package mesh decides everything about the mesh itself.
//
// Limits: one node per state directory. A node that is not [Config.Exclusive] does not
// change the process: it drops no privileges and does not notify the service manager.
//
// Ownership: Open takes the lock of the state directory and opens the listeners. Run owns
// all goroutines, and closes everything when they have ended.
package node

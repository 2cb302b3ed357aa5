// Package node assembles a whole node out of its parts: state directory,
// cluster, data plane, firewall, discovery clients, a founder's embedded
// discovery server, the loop, and the control socket.
//
// [Open] makes a [Node] of a configuration and [Node.Run] runs it: that is what
// `wirespan up` does, and what another program does to be a member of a mesh.
// [Leave], [RestoreRules] and [Token] do without a running agent what its
// commands of those names do. [Machine] replaces parts of the machine below a
// node; package nodetest uses that to run whole meshes in memory.
//
// The package connects adapters with the loop's interfaces and decides only
// what depends on this machine: TUN or netstack, with or without nftables, what
// to do at the end. Everything about the mesh itself is decided by package mesh.
//
// Limits: one node per state directory; a TUN interface per node. A node that is
// not [Config.Exclusive] leaves the process alone: no privileges are dropped, and
// no service manager is told.
//
// Ownership: Open takes the state directory's lock and opens the listeners; Run
// owns all goroutines, and returns with everything closed when they have ended.
package node

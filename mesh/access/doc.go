// Package access leads programs of a host into the mesh, and the mesh to services of the
// host, without privileges: proxies, forwards and DNS. It joins the protocols (device/proxy,
// device/forward, device/dns) with what the agent knows and with the data plane.
//
// [Network] decides what programs reach: names and addresses of the mesh and, where the
// configuration says so, the rest of the world by way of this host. Addresses of this host,
// of its links and of the metadata services of clouds are never reached on behalf of others.
// What the mesh owns never goes past it.
//
// [Services] runs the listeners of a configuration, and follows its changes: a listener that
// is in the new configuration, too, keeps its connections. One that can't be opened, or that
// fails, is tried again each few seconds, and is a condition meanwhile; it never stops the
// agent.
//
// Ownership: [Services.Run] owns all goroutines, listeners and connections.
package access

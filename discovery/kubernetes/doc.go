// Package kubernetes finds the members of a cluster through the annotations of Kubernetes
// Nodes, as Talos does.
//
// A [Client] publishes this node on its own Node ([Client.Publish]) and follows all others
// ([Client.Snapshot]; [Client.Changed] signals changes). It needs the verbs get, list, watch
// and patch on nodes; deploy/kubernetes/access.yaml grants them.
//
// Two forms stand side by side. Talos' eight annotations are plain text, which everyone reads
// who may read Nodes: only what Talos publishes there goes in. The annotation [Affiliate]
// holds in base64 the same sealed and signed data as at a discovery service. A Node with
// that one is read by it alone.
//
// What comes from the API is untrusted: whoever may patch a Node writes its annotations.
//
//   - Sizes, numbers and the time of an answer are bounded. An item of a list that is malformed is left out and
//     becomes a [discovery.Problem]; Talos drops it silently.
//   - A node id that has signed is not read in Talos' form any more.
//   - A node id belongs to one Node. Of two that claim it, the one with the newest signature
//     counts, else the first by name.
//   - The deletion of a Node, or of its annotations, removes the member at once, whether it
//     has a session or not ([discovery.Snapshot] has it in Removed). What a new
//     listing lacks has been deleted, too, unless that is more than half of all: these are
//     kept for a while. The loss of the connection removes nothing.
//
// The client lists and watches by client-go's reflector: it resumes after the end of a watch,
// lists anew when the server has forgotten where it was, and streams the list where the
// server can. It takes a Node apart as it arrives and keeps no more than what is read here.
//
// It writes only if the content differs from what the Node has, at most once per
// writeInterval, as a JSON merge patch of the difference for the version of the Node that it
// has seen.
//
// Ownership: Run owns all goroutines. All methods may be called concurrently. Logs and errors
// contain no secret.
package kubernetes

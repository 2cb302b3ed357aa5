// Package config turns YAML documents into one validated [Config].
//
// It reads Talos Linux' documents unchanged: the machine configuration
// (v1alpha1, of which only .machine.network.kubespan, .cluster.id,
// .cluster.secret, .cluster.discovery and the hostname are ours), KubeSpanConfig,
// KubeSpanEndpointsConfig, DiscoveryServiceConfig and DiscoveryIdentityConfig,
// with Talos' defaults, checks and error texts. This agent's own settings are
// one more document, WirespanConfig, and each of them is also a flag and an
// environment variable: [Settings] is the table of them all. Only its [Ingress]
// rules are too deep for a flag; they have the schema of Talos' documents
// NetworkDefaultActionConfig and NetworkRuleConfig, which are checked but don't
// apply to the mesh ([Config.HostRules]). Other kinds of Talos documents are
// skipped and listed in [Config.Ignored].
//
// It also encodes what a new cluster needs: documents for another host
// ([EncodeCluster]), a commented [Template], and the join token ([Token]).
//
// # Precedence
//
// Flag, environment, file, default: the caller passes [Override] values in
// rising precedence. [Load] then validates the whole.
//
// # Clusters
//
// Files that hold no cluster identity leave the choice of cluster to the agent
// ([Config.Standalone]): it makes its own or joins one by token. KubeSpan is
// then enabled unless a KubeSpan document says otherwise, and when the caller
// says so ([Options.ClusterProvided]) Talos' checks for a cluster identity and
// a discovery service are taken as met. With an identity in the files, Talos'
// rules hold to the letter: KubeSpan is off until enabled, and needs a service.
//
// # Limits and invariants
//
// The package does no I/O and reads no clock. Input is bounded: 4 MiB and 256
// documents in all, 1024 items per list, 256 ingress rules with 4096 sources;
// aliases are followed, never expanded.
// All problems are reported together, each with file and line. A secret is
// never printed: no error quotes one, and decoding errors quote no value at all.
// A Config is the caller's; nothing in it is shared between two loads.
package config

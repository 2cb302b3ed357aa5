// Package config turns YAML documents into one validated [Config].
//
// It reads the documents of Talos Linux unchanged: the machine configuration
// (v1alpha1, of which it uses .machine.network.kubespan, .cluster.id,
// .cluster.secret, .cluster.discovery and the hostname), KubeSpanConfig,
// KubeSpanEndpointsConfig, DiscoveryServiceConfig and DiscoveryIdentityConfig,
// with the defaults, checks and error texts of Talos. This agent's own settings
// are one more document, WirespanConfig. Its [Ingress] rules have the schema of
// Talos' NetworkDefaultActionConfig and NetworkRuleConfig; those two are checked
// but don't apply to the mesh ([Config.HostRules]). Other kinds of Talos documents
// are skipped and listed in [Config.Ignored].
//
// The package also encodes what a new cluster needs: documents for another host
// ([EncodeCluster]), a commented [Template], and the join token ([Token]). [YAML] encodes
// what the commands show.
//
// # Setting, Override, Config
//
// A [Setting] describes one key of WirespanConfig that is also a flag and an
// environment variable: its type, default and help, but no value. [Settings] is
// the table of all of them; flags, help, template and parser are derived from it.
// Ingress rules are too deep for a flag and have no Setting.
//
// An [Override] is the text of one setting that was given outside the files, as a
// flag or an environment variable. The precedence is flag, environment, file,
// default: the caller passes overrides in rising precedence. Several WirespanConfig
// documents are layers: of each setting the last one counts ([Config.Given]).
//
// A [Config] is the result of [Load]: the value of every setting (its [Wirespan])
// and what the Talos documents say, all of it checked. [Config.Mesh] is the part
// that package mesh decides by.
//
// # Clusters
//
// Files without a cluster identity leave the choice of cluster to the agent
// ([Config.Standalone]), which founds one or joins one by token. KubeSpan is then
// enabled unless a KubeSpan document says otherwise, and with
// [Options.ClusterProvided] Talos' checks for a cluster identity and a discovery
// service are skipped. With an identity in the files, the rules of Talos apply to
// the letter: KubeSpan is off until enabled, and needs a service.
//
// # Limits and invariants
//
// The package does no I/O and reads no clock. Input is bounded: 4 MiB and 256
// documents in all, 1024 items per list, 256 ingress rules with 4096 sources.
// Aliases are followed, never expanded. All problems are reported together, each
// with file and line. A secret is never printed: no error quotes one, and decoding
// errors quote no value at all. A Config belongs to the caller; two loads share
// nothing.
package config

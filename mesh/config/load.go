package config

import (
	"maps"
	"slices"
	"strings"
)

// Limits of the input.
const (
	maxBytes     = 4 << 20
	maxDocuments = 256
)

// File is one input, with its name in errors.
type File struct {
	Name string
	Data []byte
}

// Override is the value of a setting that was given outside the files.
type Override struct {
	Origin string // what the user wrote: "--listen-port", "WIRESPAN_LISTEN_PORT"; errors begin with it
	Key    string // of one of [Settings]
	Value  string // as [Kind.Split] reads it
}

// Options are the inputs of [Load] that are not files.
type Options struct {
	// Overrides in rising precedence: environment first, then flags.
	Overrides []Override
	// ClusterProvided says that, if the files hold no cluster identity, identity and
	// discovery service come from elsewhere: the state directory or a join token.
	ClusterProvided bool
}

// New returns a configuration of settings alone, by their keys, as a program has it that
// brings its own node.
func New(settings map[string]string) (*Config, error) {
	var o Options
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		o.Overrides = append(o.Overrides, Override{Origin: key, Key: key, Value: settings[key]})
	}
	return Load(nil, o)
}

// Load reads and validates the whole configuration. The error lists all problems.
// Without any file the configuration is valid and standalone.
func Load(files []File, options Options) (*Config, error) {
	l := &loader{documents: documents{cfg: &Config{Wirespan: defaults()}}}
	total := 0
	for _, f := range files {
		total += len(f.Data)
	}
	if total > maxBytes {
		l.add(pos{}, "the configuration is larger than %d MiB", maxBytes>>20)
		return nil, l.err()
	}
	for _, f := range files {
		l.read(f)
	}
	l.override(options.Overrides)
	if err := l.err(); err != nil {
		return nil, err
	}
	l.validate(options.ClusterProvided)
	if err := l.err(); err != nil {
		return nil, err
	}
	l.cfg.Given = l.given()
	return l.cfg, nil
}

// override applies the overrides in order.
func (l *loader) override(overrides []Override) {
	table := map[string]*Setting{}
	for s := range Settings() {
		table[s.Key] = s
	}
	for _, o := range overrides {
		s, known := table[o.Key]
		if !known {
			l.add(pos{file: o.Origin}, "unknown setting %.100q", o.Key)
			continue
		}
		at := pos{file: o.Origin}
		if err := l.set(s, s.Kind.Split(o.Value), at); err != nil {
			l.add(at, "%v", err)
		}
	}
}

func splitList(s string) (items []string) {
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// validate checks the documents one by one, those of Talos first and in its order,
// then all of them together, and fills the Config.
func (l *loader) validate(clusterProvided bool) {
	l.validateLegacy()
	l.validateKubeSpan()
	l.validateDiscovery()
	l.validateWirespan()
	if c := l.cfg; c.Standalone() && l.kubespan == nil {
		c.KubeSpan.Enabled, c.KubeSpan.HarvestExtraEndpoints = true, true
	}
	l.crossCheck(clusterProvided)
}

// crossCheck makes the checks of Talos across documents. A provided cluster replaces
// them only if the files hold no part of an identity.
func (l *loader) crossCheck(clusterProvided bool) {
	c := l.cfg
	if clusterProvided && c.Standalone() {
		return
	}
	if len(c.Services) > 0 {
		const suffix = " should be set when cluster discovery (DiscoveryServiceConfig) is enabled"
		if c.ClusterID == "" {
			l.add(l.serviceAt, "cluster ID (.cluster.id or DiscoveryIdentityConfig)"+suffix)
		}
		if l.identity == nil || l.identity.secret.value == "" {
			l.add(l.serviceAt, "cluster secret (.cluster.secret or DiscoveryIdentityConfig)"+suffix)
		}
	}
	if k := l.kubespan; k != nil && k.enabled && !c.discovers() {
		l.add(k.at, "KubeSpan requires cluster discovery to be enabled")
	}
}

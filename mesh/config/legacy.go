package config

// legacy holds the parts of a machine configuration (v1alpha1) that are used here.
type legacy struct {
	kubespan  *kubespan        // nil: no such section
	identity  *identity        // nil: no cluster section
	discovery *legacyDiscovery // nil: no such section
}

type legacyDiscovery struct {
	at              pos
	enabled         bool
	kubernetes      bool
	service         bool
	serviceEndpoint text
}

// defaultService is the default of Talos. It is used only if a machine configuration
// enables discovery and its service without an endpoint.
const defaultService = "https://discovery.talos.dev/"

// isLegacy reports whether a document without a kind is a machine configuration, by
// the keys that Talos uses for that.
func isLegacy(o *object) bool {
	for _, key := range []string{"machine", "cluster", "debug", "persist"} {
		if _, has := o.fields[key]; has {
			return true
		}
	}
	return false
}

// readLegacy reads the sections that are used here and ignores other keys, except
// misspelled ones on the path to a section and a misplaced discovery section: they
// would silently lose it. The hostname is ignored, too: it is that of a Talos node,
// and another node that announces it would take that node's place among the members.
func (l *loader) readLegacy(o *object) {
	l.legacy = &legacy{}
	if machine := l.section(o, "machine"); machine != nil {
		if f, misplaced := machine.fields["discovery"]; misplaced {
			l.add(f.at, "unknown keys found during decoding: machine.discovery (line %d; discovery belongs under cluster: cluster.discovery)", f.at.line)
		}
		if network := l.section(machine, "network"); network != nil {
			if k := l.section(network, "kubespan"); k != nil {
				l.legacy.kubespan = readKubeSpanKeys(k)
				k.finish()
			}
		}
	}
	if cluster := l.section(o, "cluster"); cluster != nil {
		l.legacy.identity = &identity{at: cluster.at, id: cluster.text("id"), secret: cluster.text("secret")}
		if d := l.section(cluster, "discovery"); d != nil {
			l.legacy.discovery = readLegacyDiscovery(d)
		}
	}
}

// section reads a mapping below o. If there is none, keys that look like a
// misspelling of it are problems.
func (l *loader) section(o *object, key string) *object {
	if s := o.object(key); s != nil {
		return s
	}
	for _, other := range o.keys {
		if name := NearMiss(other, key); name != "" {
			l.add(o.fields[other].at, "unknown keys found during decoding: %s%s (line %d; did you mean %q?)",
				o.path, clip(other), o.fields[other].at.line, name)
		}
	}
	return nil
}

func readLegacyDiscovery(o *object) *legacyDiscovery {
	d := &legacyDiscovery{at: o.at, enabled: o.bool("enabled"), kubernetes: true, service: true}
	if registries := o.object("registries"); registries != nil {
		if k := registries.object("kubernetes"); k != nil {
			d.kubernetes = !k.bool("disabled")
			k.finish()
		}
		if s := registries.object("service"); s != nil {
			d.service = !s.bool("disabled")
			d.serviceEndpoint = s.text("endpoint")
			s.finish()
		}
		registries.finish()
	}
	o.finish()
	return d
}

// validateLegacy checks the machine configuration on its own and applies it.
func (l *loader) validateLegacy() {
	if l.legacy == nil {
		return
	}
	if k := l.legacy.kubespan; k != nil {
		l.kubespan = k
		l.takeKubeSpan(k, "v1alpha1.Config")
	}
	if i := l.legacy.identity; i.isSet() {
		l.identity = i
		l.takeIdentity(i, "v1alpha1.Config")
	}
	d := l.legacy.discovery
	if d == nil || !d.enabled {
		return
	}
	l.cfg.KubernetesRegistry = d.kubernetes
	if d.service {
		l.takeLegacyService(d)
	}
}

// takeLegacyService checks the one service of a machine configuration.
func (l *loader) takeLegacyService(d *legacyDiscovery) {
	endpoint := d.serviceEndpoint
	if endpoint.value == "" {
		endpoint = text{defaultService, d.at}
	}
	s, u, err := parseService("legacy", endpoint.value)
	if err != nil {
		l.add(endpoint.at, "v1alpha1.Config: cluster discovery service registry endpoint is invalid: %v", err)
	} else if u.Path != "" && u.Path != "/" {
		l.add(endpoint.at, "v1alpha1.Config: cluster discovery service path should be empty")
	}
	if l.legacy.identity.id.value == "" {
		l.add(d.at, "v1alpha1.Config: cluster discovery service requires .cluster.id")
	}
	if l.legacy.identity.secret.value == "" {
		l.add(d.at, "v1alpha1.Config: cluster discovery service requires .cluster.secret")
	}
	l.cfg.Services = append(l.cfg.Services, s)
	l.serviceAt = d.at
}

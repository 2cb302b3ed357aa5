package config

import (
	"net/netip"
	"strings"

	"github.com/wirespan/wirespan/mesh"
)

// maximumMTU is the size of the largest IP packet.
const maximumMTU = 65535

// kubespan is a KubeSpan section before validation, from either kind of document.
type kubespan struct {
	at                          pos
	enabled                     bool
	advertiseKubernetesNetworks bool
	allowDownPeerBypass         bool
	harvestExtraEndpoints       bool
	mtu                         int64
	mtuGiven                    bool
	mtuAt                       pos
	endpointFilters             []text
	excludeAdvertisedNetworks   []text
	legacy                      bool
}

func readKubeSpanKeys(o *object) *kubespan {
	k := &kubespan{at: o.at, legacy: o.path != ""}
	k.enabled = o.bool("enabled")
	k.advertiseKubernetesNetworks = o.bool("advertiseKubernetesNetworks")
	k.allowDownPeerBypass = o.bool("allowDownPeerBypass")
	k.harvestExtraEndpoints = true // in Talos false, since there each node publishes all others
	o.scalar("harvestExtraEndpoints", "true or false", &k.harvestExtraEndpoints)
	k.mtu, k.mtuGiven, k.mtuAt = o.wholeNumber("mtu")
	if f := o.object("filters"); f != nil {
		k.endpointFilters = f.list("endpoints")
		k.excludeAdvertisedNetworks = f.list("excludeAdvertisedNetworks")
		f.finish()
	}
	return k
}

// readKubeSpan reads KubeSpanConfig. Its excluded networks are typed in Talos, so
// that an invalid one is a decoding error.
func (l *loader) readKubeSpan(o *object) {
	l.kubespanDocument = readKubeSpanKeys(o)
	for _, n := range l.kubespanDocument.excludeAdvertisedNetworks {
		if _, err := netip.ParsePrefix(n.value); err != nil {
			l.add(n.at, "filters.excludeAdvertisedNetworks: %.100q is not a network prefix", n.value)
		}
	}
}

// readKubeSpanEndpoints reads KubeSpanEndpointsConfig.
func (l *loader) readKubeSpanEndpoints(o *object) {
	for _, e := range o.list("extraAnnouncedEndpoints") {
		if ap, err := netip.ParseAddrPort(e.value); err != nil {
			l.add(e.at, "extraAnnouncedEndpoints: %.100q is not an IP address and port", e.value)
		} else {
			l.cfg.KubeSpan.ExtraAnnouncedEndpoints = append(l.cfg.KubeSpan.ExtraAnnouncedEndpoints, ap)
		}
	}
}

// validateKubeSpan checks KubeSpanConfig and applies it.
func (l *loader) validateKubeSpan() {
	k := l.kubespanDocument
	if k == nil {
		return
	}
	if l.kubespan != nil {
		l.add(k.at, "kubespan is already configured in v1alpha1 machine.network.kubespan")
	}
	l.kubespan = k
	l.takeKubeSpan(k, kindKubeSpan)
}

// takeKubeSpan checks a section and makes it the effective one. As in Talos, a
// disabled section of a machine configuration has no errors: invalid parts are
// left out.
func (l *loader) takeKubeSpan(k *kubespan, prefix string) {
	note := func(at pos, format string, args ...any) {
		if k.enabled || !k.legacy {
			l.add(at, prefix+": "+format, args...)
		}
	}
	out := &l.cfg.KubeSpan
	out.Enabled = k.enabled
	out.AdvertiseKubernetesNetworks = k.advertiseKubernetesNetworks
	out.AllowDownPeerBypass = k.allowDownPeerBypass
	out.HarvestExtraEndpoints = k.harvestExtraEndpoints
	switch {
	case k.legacy && k.mtu == 0: // Talos' default
	case k.mtuGiven && k.mtu < mesh.MinimumMTU:
		note(k.mtuAt, "kubespan link MTU must be at least %d", mesh.MinimumMTU)
	case k.mtu > maximumMTU:
		note(k.mtuAt, "kubespan link MTU must be at most %d", maximumMTU)
	default:
		out.MTU = int(k.mtu)
	}
	out.EndpointFilters = nil
	if k.endpointFilters != nil {
		out.EndpointFilters = make([]mesh.Filter, 0, len(k.endpointFilters))
	}
	for _, f := range k.endpointFilters {
		filter, err := parseFilter(f.value)
		if err != nil {
			note(f.at, "KubeSpan endpoint filter is not valid: %.100q", strings.TrimPrefix(f.value, "!"))
			continue
		}
		out.EndpointFilters = append(out.EndpointFilters, filter)
	}
	out.ExcludeAdvertisedNetworks = nil
	for _, n := range k.excludeAdvertisedNetworks {
		prefix, err := netip.ParsePrefix(n.value)
		if err != nil {
			note(n.at, "KubeSpan exclude advertised networks filter is not valid: %.100q", n.value)
			continue
		}
		out.ExcludeAdvertisedNetworks = append(out.ExcludeAdvertisedNetworks, prefix)
	}
}

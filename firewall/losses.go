package firewall

import "strings"

// part says what a feature is called, and where it comes from.
type part struct {
	feature Feature
	name    string
	option  string // of the kernel's configuration
	module  string // empty: it cannot be a module
	openwrt string // package
}

var parts = []part{
	{FeatureNftables, "nftables", "CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET", "nf_tables", "kmod-nft-core"},
	{FeatureReroute, "nftables chains of type route", "CONFIG_NF_TABLES_INET of Linux 5.2", "", ""},
	{FeatureCounter, "nftables counters", "CONFIG_NFT_COUNTER", "nft_counter", "kmod-nft-core"},
	{FeatureConntrack, "connection tracking for nftables", "CONFIG_NFT_CT, CONFIG_NF_CONNTRACK", "nft_ct", "kmod-nft-core"},
	{FeatureConnmark, "connection marks", "CONFIG_NF_CONNTRACK_MARK", "", "kmod-nf-conntrack"},
	{FeatureMasquerade, "masquerade for nftables", "CONFIG_NFT_MASQ, CONFIG_NFT_NAT", "nft_masq", "kmod-nft-nat"},
	{FeatureTCPOption, "changes of TCP options by nftables", "CONFIG_NFT_EXTHDR", "nft_exthdr", "kmod-nft-core"},
	{FeatureRules4, "IPv4 policy routing", "CONFIG_IP_MULTIPLE_TABLES", "", ""},
	{FeatureRules6, "IPv6 policy routing", "CONFIG_IPV6_MULTIPLE_TABLES", "", ""},
}

// partOf returns the part of a feature.
func partOf(f Feature) *part {
	for i := range parts {
		if parts[i].feature == f {
			return &parts[i]
		}
	}
	return nil
}

func (p *part) String() string { return p.name + " (" + p.option + ")" }

// remedy says how to get the feature.
func (p *part) remedy() string {
	if p.module == "" {
		return "use a kernel with it"
	}
	return "load the module " + p.module + " (modprobe " + p.module + "; on OpenWrt install " + p.openwrt + ") and restart wirespan"
}

// Loss says what a feature that the kernel lacks costs a policy.
type Loss struct {
	Feature Feature
	Message string // what is missing, what that costs, and how to get it
}

// Losses returns what the kernel lacks of what the policy needs.
func (p Policy) Losses() []Loss {
	var out []Loss
	for _, f := range p.Needs() {
		switch {
		case !p.Lacks.Has(f), f != FeatureNftables && !f.ofRouting() && p.Lacks.Has(FeatureNftables):
			continue
		case f == FeatureConnmark && p.Lacks.Has(FeatureConntrack):
			continue // its loss is in that of connection tracking
		}
		part := partOf(f)
		text := "the kernel has no " + part.String() + ": " + strings.Join(p.costs(f), "; ") + "; everything else works"
		out = append(out, Loss{f, text + ": " + part.remedy()})
	}
	return out
}

// costs returns what the policy loses without a feature.
func (p *Policy) costs(f Feature) []string {
	switch f {
	case FeatureNftables:
		return p.withoutTable()
	case FeatureReroute:
		return append(p.byDestination(), "encrypted packets whose mark another program changes do not get it back")
	case FeatureCounter:
		return []string{"packets that the rules drop are not counted, and the condition MarkRewritten is not given"}
	case FeatureConntrack, FeatureConnmark:
		return p.untracked()
	case FeatureMasquerade:
		return []string{"networks behind this node see mesh addresses in place of this node's, and need a route back to it"}
	case FeatureTCPOption:
		return []string{"TCP connections that this node forwards are not fitted to the tunnel's MTU; they depend on path MTU discovery"}
	case FeatureRules4, FeatureRules6:
		return p.inMain(f == FeatureRules6)
	}
	return nil
}

func (p *Policy) withoutTable() []string {
	out := append(p.byDestination(),
		"packets for the mesh are kept out of the clear by rules and routes alone: nothing stops them if another program's rule or route wins, or removes these")
	if p.Subnet.IsValid() {
		out = append(out, "neighbours on a link are not kept from using mesh addresses: do not trust a source address in "+p.Subnet.String())
	}
	out = append(out, "encrypted packets whose mark another program changes are not recognised", p.costs(FeatureTCPOption)[0])
	if len(p.Masquerade) > 0 {
		out = append(out, p.costs(FeatureMasquerade)...)
	}
	return out
}

// byDestination says what routing without marks cannot do.
func (p *Policy) byDestination() []string {
	if !p.ReturnByTunnel {
		return []string{"packets are led into the tunnel by destination alone"}
	}
	return []string{"packets are led into the tunnel by destination alone, and replies to peers that bypass it do not return by it"}
}

func (p *Policy) untracked() []string {
	var out []string
	if p.ReturnByTunnel {
		out = append(out, "replies to peers that bypass the tunnel do not return by it")
	}
	if _, forwarded6 := families(p.Forwarded); len(forwarded6) > 0 {
		out = append(out, "hosts in IPv6 networks behind this node cannot reply to mesh addresses")
	}
	if len(p.Masquerade) > 0 {
		out = append(out, "masquerade does not work")
	}
	if p.Ingress.restricts() {
		out = append(out, "ingress rules cannot be enforced")
	}
	return out
}

// inMain says what routes in main cannot do.
func (p *Policy) inMain(v6 bool) []string {
	out := []string{
		"networks of peers are routed in table main, where more specific routes of this host win, and what is sent to them then leaves in the clear",
		"an endpoint of a peer that is in such a network is not reached",
	}
	routed4, routed6 := families(p.Routed)
	routed := routed4
	if v6 {
		routed = routed6
	}
	if !p.Lacks.Has(FeatureNftables) {
		out[0] = "networks of peers are routed in table main, where more specific routes of this host win, and what is sent to them then is dropped"
	}
	if len(routed) > 0 && routed[0].Bits() == 0 {
		out = append(out, "a default route of a peer is not used")
	}
	return out
}

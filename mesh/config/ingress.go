package config

import (
	"fmt"

	"github.com/wirespan/wirespan/firewall"
)

// Limits of ingress rules. Each list in them has at most maxListItems.
const (
	maxRules    = 256
	maxSources  = 4096 // subnets and peers of all rules together
	maxRuleName = 64   // bytes
)

// Ingress says which connections may come from the mesh. Peers are given by name;
// with their addresses it becomes a [firewall.Ingress].
type Ingress struct {
	Default firewall.Action
	Rules   []IngressRule
}

// IngressRule is one rule. Its sources are its subnets and its peers; it may have
// none.
type IngressRule struct {
	Name     string // unique
	Protocol firewall.Protocol
	Ports    []firewall.PortRange // sorted, disjoint; never empty for TCP and UDP
	Subnets  []firewall.Subnet    // disjoint; each contains its exception
	Peers    []string             // distinct nodenames
}

// readIngress reads the ingress section of WirespanConfig.
func (l *loader) readIngress(o *object) {
	in := o.object("ingress")
	if in == nil {
		return
	}
	if _, given := in.fields["defaultAction"]; given {
		l.note(keyIngressDefault, string(readAction(in, "defaultAction", kindWirespan)), in.fields["defaultAction"].at)
		l.cfg.Ingress.Default = firewall.Action(l.settings[keyIngressDefault].value)
	}
	if _, given := in.fields["rules"]; given { // of another layer they are replaced, like lists
		l.cfg.Ingress.Rules = nil
	}
	lines, sources := map[string]int{}, 0
	for i, ruleObject := range in.objects("rules", maxRules) {
		name := ruleObject.text("name")
		label := clip(name.value)
		if name.value == "" {
			label = fmt.Sprint(i + 1)
		}
		r := ruleReader{in: ruleObject, prefix: kindWirespan + ": ingress rule " + label + ": "}
		switch line, duplicate := lines[name.value]; {
		case duplicate && name.value != "":
			r.add(name.at, "duplicate name, also used at line %d", line)
		case len(name.value) > maxRuleName || clip(name.value) != name.value:
			r.add(name.at, "the name is not printable or longer than %d bytes", maxRuleName)
		}
		lines[name.value] = name.at.line
		rule := r.read(name)
		ruleObject.finish()
		if sources += len(rule.Subnets) + len(rule.Peers); sources > maxSources {
			l.add(in.at, "%s: ingress: more than %d sources (subnets and peers) in all rules", kindWirespan, maxSources)
			return
		}
		l.cfg.Ingress.Rules = append(l.cfg.Ingress.Rules, rule)
	}
	if f, given := in.fields["rules"]; given {
		l.note(keyIngressRules, fmt.Sprintf("%d rules", len(l.cfg.Ingress.Rules)), f.at)
	}
	in.finish()
}

// readDefaultAction and readHostRule read the rules of Talos for hosts. They are
// checked, but as in Talos do not apply to the mesh.
func (l *loader) readDefaultAction(o *object) {
	readAction(o, "ingress", kindDefaultAction)
	l.cfg.HostRules = true
}

func (l *loader) readHostRule(o *object, name text) {
	r := ruleReader{in: o, prefix: kindRule + "/" + clip(name.value) + ": ", talos: true}
	r.read(name)
	l.cfg.HostRules = true
}

// readAction reads accept or block; accept is the default.
func readAction(o *object, key, kind string) firewall.Action {
	action := o.text(key)
	switch a := firewall.Action(action.value); a {
	case firewall.ActionAccept, firewall.ActionBlock:
		return a
	case "":
	default:
		o.problems.add(action.at, "%s: %s%s: %s does not belong to DefaultAction values (%s, %s)",
			kind, o.path, key, clip(action.value), firewall.ActionAccept, firewall.ActionBlock)
	}
	return firewall.ActionAccept
}

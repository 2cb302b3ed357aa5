package config

import (
	"fmt"

	"github.com/wirespan/wirespan/firewall"
)

// Bounds of ingress rules; lists in them have at most maxListItems.
const (
	maxRules    = 256
	maxSources  = 4096 // subnets and peers of all rules
	maxRuleName = 64   // bytes
)

// Ingress says what the mesh may open connections to, with peers by name:
// [firewall.Ingress] once they are resolved.
type Ingress struct {
	Default firewall.Action
	Rules   []IngressRule
}

// IngressRule is one rule. Its sources are subnets and peers together; it may
// have none.
type IngressRule struct {
	Name     string // unique
	Protocol firewall.Protocol
	Ports    []firewall.PortRange // of TCP and UDP: sorted, disjoint, not empty
	Subnets  []firewall.Subnet    // disjoint, each with its exception inside
	Peers    []string             // nodenames, each once
}

// readIngress reads the ingress section of WirespanConfig.
func (l *loader) readIngress(o *object) {
	in := o.object("ingress")
	if in == nil {
		return
	}
	l.cfg.Ingress.Default = readAction(in, "defaultAction", kindWirespan)
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
			r.add(name.at, "its name is not unique: the rule at line %d has it, too", line)
		case len(name.value) > maxRuleName || clip(name.value) != name.value:
			r.add(name.at, "its name is not printable, or longer than %d bytes", maxRuleName)
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
	in.finish()
}

// readDefaultAction and readHostRule read Talos' rules for hosts. They are
// checked, but Talos exempts the mesh from them.
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

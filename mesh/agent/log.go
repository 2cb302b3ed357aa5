package agent

import (
	"cmp"
	"net/netip"
	"strconv"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// logChanges logs what differs from the last plan.
func (a *Agent) logChanges(plan *mesh.Plan) {
	was := map[mesh.Key]*mesh.PeerStatus{}
	for i := range a.previous.Statuses {
		s := &a.previous.Statuses[i]
		was[s.PublicKey] = s
	}
	for i := range plan.Statuses {
		s := &plan.Statuses[i]
		old := was[s.PublicKey]
		delete(was, s.PublicKey)
		switch name := logName(s); {
		case old == nil:
			a.log.Info("peer added", "peer", name, "publicKey", s.PublicKey)
		case old.State != s.State:
			a.log.Info("peer state changed", "peer", name, "from", old.State, "to", s.State, "endpoint", shown(s.Endpoint))
		case old.LastUsedEndpoint != s.LastUsedEndpoint:
			a.log.Debug("peer endpoint changed", "peer", name, "endpoint", shown(s.LastUsedEndpoint))
		}
	}
	for i := range a.previous.Statuses {
		if s := was[a.previous.Statuses[i].PublicKey]; s != nil {
			a.log.Info("peer removed", "peer", logName(s), "publicKey", s.PublicKey)
		}
	}
	a.logConditions(plan.Conditions)
}

func logName(s *mesh.PeerStatus) string { return printed(cmp.Or(s.Label, s.PublicKey.String())) }

// printed returns s as it may be in a log: quoted, if not all of it prints.
func printed(s string) string {
	if discovery.Printable(s) {
		return s
	}
	return strconv.Quote(s)
}

// shown returns an endpoint as the log shows it.
func shown(e netip.AddrPort) string {
	if !e.IsValid() {
		return "none"
	}
	return printed(mesh.EndpointText(e))
}

// logConditions logs a condition once when it appears and once when it clears. A
// changed message of the same condition is not logged.
func (a *Agent) logConditions(now []mesh.Condition) {
	type key struct {
		typ     mesh.ConditionType
		subject string
	}
	there := map[key]bool{}
	for _, c := range a.previous.Conditions {
		there[key{c.Type, c.Subject}] = false
	}
	for _, c := range now {
		k := key{c.Type, c.Subject}
		if _, known := there[k]; !known {
			a.log.Warn(c.Message, "condition", c.Type, "subject", printed(c.Subject))
		}
		there[k] = true
	}
	for _, c := range a.previous.Conditions {
		if k := (key{c.Type, c.Subject}); !there[k] {
			there[k] = true
			a.log.Info("condition cleared", "condition", c.Type, "subject", printed(c.Subject))
		}
	}
}

package agent

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

const (
	conditionApply  mesh.ConditionType = "ApplyFailed"
	conditionHost   mesh.ConditionType = "HostUnknown"
	conditionData   mesh.ConditionType = "DiscoveryData"
	conditionMTU    mesh.ConditionType = "UnderlayMTU"
	conditionMemory mesh.ConditionType = "StateNotWritten"

	conditionUnproven mesh.ConditionType = "IdentityUnproven"
)

// reconcile is one pass: it looks at everything, decides, applies and shows. It
// returns how long the result holds if nothing happens.
func (a *Agent) reconcile(now time.Time) time.Duration {
	if a.schedule.begin(now) { // read and apply everything anew, which heals what others changed
		a.host.links, a.plane.configured, a.plane.peers, a.routing.current = nil, false, nil, false
	}
	var conditions []mesh.Condition
	report := func(typ mesh.ConditionType, subject string, err error) {
		if err != nil {
			conditions = append(conditions, mesh.Condition{Type: typ, Subject: subject, Message: err.Error()})
		}
	}
	report(conditionHost, "links", a.observe())
	a.watchClones(now)
	prepared := a.prepare()
	report(conditionApply, "device", prepared)
	a.followClock(now)
	a.probe()
	a.wishPorts()
	conditions = append(conditions, a.syncRegistries()...)

	affiliates, public, problems := a.discovered(now)
	conditions = append(conditions, problems...)
	stats, statsErr := a.readStats()
	report(conditionApply, "device", statsErr)

	rotation, err := a.rotation(now)
	report(conditionMemory, state.RotationFile, err)
	plan := mesh.Decide(mesh.Input{
		Config: a.meshConfig(), Self: a.self, Host: a.describeHost(public),
		Affiliates: affiliates, Removed: a.removed(), Stats: stats, Attempts: a.attempts(), Previous: a.previous.Statuses,
		Known: a.previous.Known, Pins: a.cfg.Memory.Pins(a.self.Subnet), Harvested: a.previous.Endpoints, Rotation: rotation, RelayNeed: a.previous.RelayNeed,
		StaticUnknown: a.sources.unknown,
	}, now)
	if a.cfg.Memory.SetPins(a.self.Subnet, plan.Pins) {
		a.pinning.note(now)
	}
	a.releaseRetained(plan, now)
	a.reportMesh(plan, affiliates)
	if a.onTrial(&plan.Local, now) {
		plan.Peers, plan.Specs, plan.Statuses, plan.Routes, plan.Wake = nil, nil, nil, nil, a.record.trial
	}
	applyErr := a.apply(plan)
	a.relay(&plan)
	a.settle(now)
	report(conditionMemory, state.PinsFile, a.pinning.err)
	a.remember(affiliates, now)
	conditions = append(conditions, a.cacheConditions(&plan, now)...)
	subject := "device"
	if a.cfg.Firewall != nil && !a.routing.current {
		subject = "firewall"
	}
	report(conditionApply, subject, applyErr)
	if applyErr != nil {
		plan.Local.Record.Prepared = nil
	}
	conditions = append(conditions, a.routingConditions()...)
	report(conditionMemory, state.SequenceFile, a.publish(&plan, now))
	a.redial()
	report(conditionMemory, state.RotationFile, a.rotate(plan, now))
	conditions = append(conditions, a.cloneConditions(now)...)
	conditions = append(conditions, a.rotationConditions()...)
	conditions = append(conditions, a.charterConditions(plan)...)

	report(state.ConditionClockNotRecorded, "clock", a.cfg.Clock.Tick(now))
	conditions = append(conditions, a.cfg.Clock.Conditions(now)...)
	conditions = append(conditions, a.host.notes...)
	conditions = append(conditions, a.fragmented()...)
	conditions = append(conditions, narrowPaths(plan, a.config.mesh(a.host.links).MTU)...)
	conditions = append(conditions, a.cfg.Memory.Damaged()...)
	conditions = append(conditions, a.unproven(plan.Pins)...)
	conditions = append(conditions, a.dropped(now)...)
	conditions = append(conditions, a.returned(now)...)
	conditions = append(conditions, a.relayConditions()...)
	if a.cfg.Services != nil {
		conditions = append(conditions, a.cfg.Services.Conditions()...)
	}
	plan.Conditions = append(plan.Conditions, conditions...)

	a.schedule.end(prepared == nil && statsErr == nil && applyErr == nil)
	a.logChanges(plan)
	a.paths = a.paths.show(plan.Statuses, a.steps.show)
	a.present(plan, affiliates, now)
	a.foresee(plan)
	a.nameNodes(&plan)
	a.previous = plan
	a.storeStatus(plan, now)
	return a.schedule.next(plan.Wake, now)
}

// meshConfig returns what decisions depend on, this process' part included.
func (a *Agent) meshConfig() mesh.Config {
	m := a.config.mesh(a.host.links)
	m.NoRouting = a.cfg.Firewall == nil
	m.RequireSigned = a.config.Own
	m.Enabled = m.Enabled && !a.withdrawn()
	return m
}

// unproven returns a condition that names the nodes whose keys nothing vouches for: their
// records are not signed, and the pins of an earlier agent are lost.
func (a *Agent) unproven(pins []mesh.Pin) []mesh.Condition {
	if !a.cfg.Memory.IsDamaged(state.PinsFile) {
		return nil
	}
	const named = 8
	var nodes []string
	for i := range pins {
		if p := &pins[i]; p.NodeID != a.self.NodeID && p.Sequence == 0 && !p.PublicKey.IsZero() {
			nodes = append(nodes, fmt.Sprintf("%s with %s", mesh.QuoteName(cmp.Or(p.Nodename, p.NodeID)), p.PublicKey))
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	text := strings.Join(nodes[:min(len(nodes), named)], ", ")
	if more := len(nodes) - named; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return []mesh.Condition{{
		Type: conditionUnproven, Subject: state.PinsFile,
		Message: "these nodes sign nothing, and which keys they had is lost: compare the keys that they have now with those on the nodes: " + text,
	}}
}

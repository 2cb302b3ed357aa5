package agent

import (
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/mesh"
)

// relaying is what the loop has said about relays.
type relaying struct {
	wished mesh.RelayWish
	device Device // that was told
	served mesh.RelayService
	told   bool // served
}

// relay says to the device which relays to use, and to this node's relay whom to serve.
func (a *Agent) relay(plan *mesh.Plan) {
	r := &a.relaying
	if d := a.plane.device; d != nil {
		w := plan.Relays
		w.Moves = a.host.moves
		if r.device != d || !sameWish(&r.wished, &w) {
			r.wished, r.device = w, d
			d.SetRelays(w)
		}
	}
	if a.cfg.Relaying == nil {
		return
	}
	s := mesh.RelayService{Public: announcedAddresses(plan)}
	for i := range plan.Specs {
		spec := &plan.Specs[i]
		s.Members = append(s.Members, mesh.RelayMember{NodeID: spec.NodeID, Name: spec.Label, Key: spec.PublicKey})
	}
	if !r.told || !slices.Equal(r.served.Public, s.Public) || !slices.Equal(r.served.Members, s.Members) {
		r.served, r.told = s, true
		a.cfg.Relaying.Set(s)
	}
}

// announcedAddresses returns the addresses of this node's endpoints, without those on relays.
func announcedAddresses(plan *mesh.Plan) (out []netip.Addr) {
	for _, ep := range plan.Local.Endpoints {
		if ip := ep.Addr(); !slices.Contains(plan.Local.Record.Relayed, ep) && !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	return out
}

func sameWish(a, b *mesh.RelayWish) bool {
	return a.Want == b.Want && a.Moves == b.Moves && slices.Equal(a.Peers, b.Peers) &&
		equal(a.Relays, b.Relays, func(a, b *mesh.Relay) bool {
			return a.Name == b.Name && a.NodeID == b.NodeID && a.Family6 == b.Family6 && slices.Equal(a.Servers, b.Servers)
		})
}

// relayConditions returns what is wrong with this node's own relay.
func (a *Agent) relayConditions() []mesh.Condition {
	if a.cfg.Relaying == nil {
		return nil
	}
	return a.cfg.Relaying.Conditions()
}

func (a *Agent) relayViews() []mesh.RelayView {
	out := []mesh.RelayView{}
	if a.plane.device == nil {
		return out
	}
	for _, r := range a.plane.device.Relays() {
		out = append(out, mesh.RelayView{
			Relay: r.Relay, Server: r.Server, Transport: r.Transport, Relayed: r.Relayed, RTT: milliseconds(r.RTT),
			SentBytes: r.Sent, ReceivedBytes: r.Received, DroppedPackets: r.Dropped, Refused: r.Refused, Error: r.Error,
		})
	}
	return out
}

func (a *Agent) relayingView() mesh.RelayingView {
	v := mesh.RelayingView{Members: []mesh.RelayUsage{}}
	if a.cfg.Relaying != nil {
		v.Port, v.Members = a.cfg.Relaying.Port(), list(a.cfg.Relaying.Usage())
		v.Ports = a.config.RelayPorts.String()
	}
	return v
}

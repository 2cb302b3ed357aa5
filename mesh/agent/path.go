package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// PathView is what the device knows about the way to a peer.
type PathView struct {
	Works      bool            `json:"works"`                // the endpoint does
	Trying     time.Time       `json:"tryingSince,omitzero"` // there has been no answer
	RTT        float64         `json:"rttMs,omitempty"`
	Loss       float64         `json:"loss"` // of the agent's own tests, 0 to 1
	Changes    int             `json:"changes"`
	MTU        int             `json:"mtu,omitempty"` // of the tunnel, that the path takes whole
	Candidates []CandidateView `json:"candidates"`    // in the order in which they are tried
}

// CandidateView is an endpoint with the result of its last try.
type CandidateView struct {
	Endpoint  netip.AddrPort `json:"endpoint"`
	Relay     string         `json:"relay,omitempty"` // of this node, by which it is reached
	Rank      int            `json:"rank"`            // the lowest is the best
	Announced bool           `json:"announced"`       // else the peer was seen there
	Result    string         `json:"result"`
	Why       string         `json:"why,omitempty"`
	RTT       float64        `json:"rttMs,omitempty"`
	Tried     time.Time      `json:"tried,omitzero"`
	Answered  time.Time      `json:"answered,omitzero"`
}

// pathViews are the paths of a pass, by what they show. A path that is as it was in the pass
// before keeps its view, since there may be a thousand.
type pathViews map[*mesh.PeerPath]*PathView

// show returns the views of statuses. Clock returns times by the clock as it is now.
func (views pathViews) show(statuses []mesh.PeerStatus, clock func(time.Time) time.Time) pathViews {
	next := make(pathViews, len(statuses))
	for i := range statuses {
		switch p := statuses[i].Path; {
		case p == nil:
		case views[p] != nil:
			next[p] = views[p]
		default:
			next[p] = pathView(p, clock)
		}
	}
	return next
}

func pathView(p *mesh.PeerPath, clock func(time.Time) time.Time) *PathView {
	v := &PathView{
		Works: p.Settled, RTT: milliseconds(p.RTT), Loss: p.Loss, Changes: p.Changes, MTU: p.MTU, Trying: clock(p.Troubled),
		Candidates: make([]CandidateView, 0, len(p.Candidates)),
	}
	for i := range p.Candidates {
		c := &p.Candidates[i]
		at, relay := mesh.Direct(c.Endpoint)
		v.Candidates = append(v.Candidates, CandidateView{
			at, relay, c.Rank, c.Announced, c.Result, c.Why, milliseconds(c.RTT), clock(c.Sent), clock(c.Answered),
		})
	}
	return v
}

func milliseconds(d time.Duration) float64 { return float64(d.Round(10*time.Microsecond)) / 1e6 }

// triedText lists the last results of candidates; it is empty if there are none.
func triedText(p *mesh.PeerPath) string {
	const named = 4
	if p == nil || len(p.Candidates) == 0 {
		return ""
	}
	var list []string
	for i := range min(len(p.Candidates), named) {
		c := &p.Candidates[i]
		text := fmt.Sprintf("%s %s", mesh.EndpointText(c.Endpoint), c.Result)
		if c.Why != "" {
			text += " (" + c.Why + ")"
		}
		list = append(list, text)
	}
	if more := len(p.Candidates) - named; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// narrowPaths returns a condition for each peer whose path takes no packets as large as the
// tunnel's MTU.
func narrowPaths(p *mesh.Plan, mtu int) []mesh.Condition {
	var conditions []mesh.Condition
	for i := range p.Statuses {
		s := &p.Statuses[i]
		if s.Path == nil || s.Path.MTU == 0 || s.Path.MTU >= mtu {
			continue
		}
		peer := cmp.Or(s.Label, s.PublicKey.String())
		conditions = append(conditions, mesh.Condition{
			Type: mesh.ConditionPathMTU, Subject: peer,
			Message: fmt.Sprintf("the path to %s by %s takes packets of %d bytes, and the tunnel's MTU is %d: TCP is adapted, other large packets are fragmented or lost; %s",
				mesh.QuoteName(peer), mesh.EndpointText(s.Endpoint), s.Path.MTU, mtu, widerPath(s)),
		})
	}
	return conditions
}

// widerPath says what to do about a narrow path.
func widerPath(s *mesh.PeerStatus) string {
	if s.Path.MTU >= mesh.MinimumMTU {
		return fmt.Sprintf("set kubespan.mtu to %d on all nodes", s.Path.MTU)
	}
	overhead := wireGuardOverhead
	if s.Endpoint.Addr().Unmap().Is4() {
		overhead -= 20 // the headers of IPv6 are that much larger
	}
	return fmt.Sprintf("kubespan.mtu can't be below %d: make the links of the path take packets of %d bytes",
		mesh.MinimumMTU, mesh.MinimumMTU+overhead)
}

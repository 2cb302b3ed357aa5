package agent

import (
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// SourceView is a registry that has a node.
type SourceView struct {
	Source string    `json:"source"`
	Since  time.Time `json:"since,omitzero"`         // it has said what it says of the node
	Last   time.Time `json:"lastConfirmed,omitzero"` // it does not say so any more, or does not answer; absent: it does
}

// presented is what the resource store shows of affiliates, and of what it was made.
type presented struct {
	local   mesh.Affiliate
	sources []discovery.Source
	steps   int // of the clock
	origins map[string]originView
}

// originView says where an affiliate comes from.
type originView struct {
	sources []SourceView
	fields  map[string][]string // that sources contradict each other about, with those that are believed
}

// follow takes over what is known of affiliates now, and reports whether any of it is new.
func (s *presented) follow(a *Agent, local *mesh.Affiliate, affiliates []mesh.Affiliate) bool {
	found := sameSources(s.sources, a.sources.found) && s.steps == len(a.steps.list) && s.origins != nil
	if found && sameAffiliate(&s.local, local) {
		return false
	}
	s.local = *local
	if found {
		return true
	}
	s.sources, s.steps, s.origins = a.sources.found, len(a.steps.list), make(map[string]originView, len(affiliates))
	for i := range affiliates {
		s.origins[affiliates[i].NodeID] = viewOf(discovery.OriginOf(a.sources.found, &affiliates[i]), a.steps.show)
	}
	return true
}

func viewOf(o discovery.Origin, show func(time.Time) time.Time) originView {
	v := originView{sources: make([]SourceView, len(o.Sources))}
	for i, s := range o.Sources {
		v.sources[i] = SourceView{s.Source, show(s.Since), show(s.Last)}
	}
	if len(o.Fields) > 0 {
		v.fields = make(map[string][]string, len(o.Fields))
		for _, f := range o.Fields {
			v.fields[f.Name] = f.Sources
		}
	}
	return v
}

package agent

import "slices"

// removed returns the ids of nodes that someone has removed from a registry for good.
func (a *Agent) removed() (ids []string) {
	for _, r := range a.sources.running {
		ids = append(ids, r.shown().Removed...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

package mesh

import (
	"slices"
	"sort"
	"strings"
)

// members lists every affiliate with a nodename, this node included. Nodenames
// are unique: of two nodes with one name the higher node id shows, as in Talos.
func members(local *Affiliate, others []*Affiliate, cs *conditions) []Member {
	byName := make(map[string]*Affiliate, len(others)+1)
	all := append([]*Affiliate{local}, others...)
	slices.SortStableFunc(all, func(a, b *Affiliate) int { return strings.Compare(a.NodeID, b.NodeID) })
	for _, a := range all {
		if a.Nodename == "" {
			continue
		}
		if earlier := byName[a.Nodename]; earlier != nil {
			cs.add(ConditionDuplicateNodename, a.Nodename,
				"nodes %s and %s are both named %q; only the latter shows as a member; rename one of them",
				earlier.NodeID, a.NodeID, a.Nodename)
		}
		byName[a.Nodename] = a
	}
	var out []Member
	for _, a := range byName {
		out = append(out, Member{
			NodeID:           a.NodeID,
			Nodename:         a.Nodename,
			Hostname:         a.Hostname,
			Addresses:        slices.Clone(a.Addresses),
			MachineType:      a.MachineType,
			OperatingSystem:  a.OperatingSystem,
			ControlPlanePort: a.ControlPlanePort,
		})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Nodename < out[j].Nodename })
	return out
}

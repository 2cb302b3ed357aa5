package discovery

import (
	"slices"
	"sort"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Kind is a kind of registry.
type Kind string

// Kinds of registries.
const (
	KindKubernetes Kind = "k8s"
	KindService    Kind = "service"
	KindStatic     Kind = "static" // what this node's administrator has written
	KindCache      Kind = "cache"  // what this node has remembered
)

// Source is what one registry has found. Its slices are shared and must not be modified.
type Source struct {
	Kind       Kind
	Name       string           // of the registry among those of its kind
	Affiliates []mesh.Affiliate // sorted by node id
	Heard      []Heard          // of each of Affiliates; nil: not known
	Lost       time.Time        // since when the registry has not answered; zero: it does
}

// Heard is when a registry has said what it says of a node.
type Heard struct {
	Since time.Time // it has said this; zero: not known
	Last  time.Time // it last said so; zero: it does now
}

// String returns the name of the source for people: "service/NAME", "static".
func (s *Source) String() string {
	if s.Name == "" || s.Name == string(s.Kind) {
		return string(s.Kind)
	}
	return string(s.Kind) + "/" + s.Name
}

// Origin says where an affiliate comes from.
type Origin struct {
	Sources []Saying // that have the node, the most believed first
	Fields  []Field  // that they contradict each other about
}

// Saying is one source that has a node.
type Saying struct {
	Source string
	Heard
}

// Field is a field of an affiliate, with the sources that its value is from.
type Field struct {
	Name    string
	Sources []string
}

// OriginOf returns where an affiliate comes from that is the result of [Merge] for these
// sources. A node that no source has any more has no sources.
func OriginOf(sources []Source, merged *mesh.Affiliate) Origin {
	var all []statement
	for i := range sources {
		s := &sources[i]
		at := sort.Search(len(s.Affiliates), func(k int) bool { return s.Affiliates[k].NodeID >= merged.NodeID })
		if at < len(s.Affiliates) && s.Affiliates[at].NodeID == merged.NodeID {
			all = append(all, statement{s, at})
		}
	}
	sortStatements(all)
	var o Origin
	for _, st := range all {
		o.Sources = append(o.Sources, Saying{st.source.String(), st.heard()})
	}
	if len(all) > 1 {
		o.Fields = contested(all, merged)
	}
	return o
}

// statement is what a source says of one node.
type statement struct {
	source *Source
	at     int
}

func (s statement) affiliate() *mesh.Affiliate { return &s.source.Affiliates[s.at] }

// heard returns when the source has said it. What a source said last before it was lost,
// it said then.
func (s statement) heard() (h Heard) {
	if s.source.Heard != nil {
		h = s.source.Heard[s.at]
	}
	if h.Last.IsZero() {
		h.Last = s.source.Lost
	}
	return h
}

// rank is the lower, the more a statement is believed.
func (s statement) rank() int {
	switch {
	case s.source.Kind == KindStatic:
		return 0
	case s.source.Kind == KindCache:
		return 3
	case !s.heard().Last.IsZero():
		return 2
	}
	return 1
}

// sortStatements sorts the most believed first: see [Merge]. There are few.
func sortStatements(all []statement) {
	for i := range all {
		for k := i; k > 0 && all[k].before(all[k-1]); k-- {
			all[k], all[k-1] = all[k-1], all[k]
		}
	}
}

func (s statement) before(o statement) bool {
	if a, b := s.rank(), o.rank(); a != b {
		return a < b
	}
	if a, b := s.heard().Since, o.heard().Since; !a.Equal(b) {
		return a.After(b)
	}
	return s.source.String() > o.source.String()
}

// affiliateField is a field of an affiliate by its name in resources. Compare returns
// whether two affiliates say the same, and whether the first one says nothing.
type affiliateField struct {
	name    string
	compare func(a, b *mesh.Affiliate) (same, silent bool)
}

var affiliateFields = []affiliateField{
	{"addresses", func(a, b *mesh.Affiliate) (same, silent bool) { return compareLists(a.Addresses, b.Addresses) }},
	{"hostname", func(a, b *mesh.Affiliate) (same, silent bool) { return a.Hostname == b.Hostname, a.Hostname == "" }},
	{"nodename", func(a, b *mesh.Affiliate) (same, silent bool) { return a.Nodename == b.Nodename, a.Nodename == "" }},
	{"operatingSystem", func(a, b *mesh.Affiliate) (same, silent bool) {
		return a.OperatingSystem == b.OperatingSystem, a.OperatingSystem == ""
	}},
	{"machineType", func(a, b *mesh.Affiliate) (same, silent bool) {
		return a.MachineType == b.MachineType, unknownType(a.MachineType)
	}},
	{"controlPlane", func(a, b *mesh.Affiliate) (same, silent bool) {
		return a.ControlPlanePort == b.ControlPlanePort, a.ControlPlanePort == 0
	}},
	{"publicKey", func(a, b *mesh.Affiliate) (same, silent bool) {
		return a.PublicKey == b.PublicKey, a.PublicKey.IsZero()
	}},
	{"address", func(a, b *mesh.Affiliate) (same, silent bool) { return a.Address == b.Address, !a.Address.IsValid() }},
	{"additionalAddresses", func(a, b *mesh.Affiliate) (same, silent bool) {
		return compareLists(a.AdditionalAddresses, b.AdditionalAddresses)
	}},
	{"endpoints", func(a, b *mesh.Affiliate) (same, silent bool) { return compareLists(a.Endpoints, b.Endpoints) }},
	{"excludeAdvertisedNetworks", func(a, b *mesh.Affiliate) (same, silent bool) {
		return compareLists(a.ExcludeAdvertisedNetworks, b.ExcludeAdvertisedNetworks)
	}},
	{"sequence", func(a, b *mesh.Affiliate) (same, silent bool) {
		return a.Record.Sequence == b.Record.Sequence && a.Record.Instance == b.Record.Instance, !a.Record.Signed()
	}},
}

func compareLists[T comparable](a, b []T) (same, silent bool) { return slices.Equal(a, b), len(a) == 0 }

// contested lists the fields about which statements contradict each other. A statement
// that leaves a field empty contradicts none.
func contested(all []statement, merged *mesh.Affiliate) (out []Field) {
	for _, f := range affiliateFields {
		var first *mesh.Affiliate
		differ := false
		var from, said []string
		for _, s := range all {
			a := s.affiliate()
			if _, silent := f.compare(a, a); silent {
				continue
			}
			if first == nil {
				first = a
			}
			same, _ := f.compare(a, first)
			differ = differ || !same
			said = append(said, s.source.String())
			if same, _ := f.compare(a, merged); same {
				from = append(from, s.source.String())
			}
		}
		if len(from) == 0 { // a union
			from = said
		}
		if differ {
			out = append(out, Field{f.name, from})
		}
	}
	return out
}

// Remembered is an affiliate that a node keeps for its next start.
type Remembered struct {
	Affiliate mesh.Affiliate // the endpoint that worked last comes first
	Sources   []string       // that had it; see [Source.String]
	Confirmed time.Time      // when one of them last said so; zero: the clock was wrong then
}

package kubernetes

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

const (
	// maxNodes bounds the Nodes with annotations: more than there can be members, since
	// several may claim one id.
	maxNodes = 8192
	// maxTracked bounds what they take in memory, in bytes.
	maxTracked = 64 << 20
	// maxClaimants bounds the Nodes that are looked at for one id.
	maxClaimants = 64
)

// tracker holds the claims of all Nodes, and the members that follow from them. It outlives
// connections, and belongs to the goroutine that follows the API.
type tracker struct {
	cluster codec.Cluster
	table   *discovery.Table
	nodes   map[string]*tracked // by name
	byID    map[string]map[string]bool
	rivalry map[string]discovery.Problem // by node id
	removed map[string]bool              // node ids whose Node was deleted
	bad     map[string]bool              // names of Nodes whose node id is none
	size    int                          // of nodes, in bytes
	full    bool
	changed bool // problems would return other values
}

type tracked struct {
	node     *node
	claim    claim
	examined bool   // sequence is known
	sequence uint64 // of the signed data; 0: the node id has not signed it
}

func newTracker(cluster codec.Cluster, self string) *tracker {
	t := &tracker{cluster: cluster, nodes: map[string]*tracked{}, byID: map[string]map[string]bool{}, rivalry: map[string]discovery.Problem{}, removed: map[string]bool{}, bad: map[string]bool{}}
	t.table = discovery.NewTable(self, t.open, discovery.MaxTTL)
	return t
}

// set takes the present state of a Node.
func (t *tracker) set(n *node, now time.Time) { t.resolve(t.put(n), now) }

// remove removes a Node that is deleted.
func (t *tracker) remove(name string, now time.Time) { t.resolve(t.drop(name), now) }

// put notes the state of a Node and returns the ids that it concerns.
func (t *tracker) put(n *node) []string {
	old := t.nodes[n.Name]
	if n.Name == "" {
		return nil
	}
	if old != nil && old.node.same(n) {
		old.node.ResourceVersion = n.ResourceVersion
		return nil
	}
	c := claimOf(n)
	if c.ID == "" {
		return t.drop(n.Name)
	}
	touched := t.drop(n.Name)
	if discovery.CheckID(c.ID) != nil {
		if len(t.bad) < maxNodes {
			t.bad[n.Name], t.changed = true, true
		}
		return touched
	}
	if len(t.nodes) >= maxNodes || t.size+n.size() > maxTracked {
		t.full, t.changed = true, true
		return touched
	}
	touched = append(touched, c.ID)
	t.nodes[n.Name] = &tracked{node: n, claim: c}
	t.size += n.size()
	if t.byID[c.ID] == nil {
		t.byID[c.ID] = map[string]bool{}
	}
	t.byID[c.ID][n.Name] = true
	delete(t.removed, c.ID)
	return touched
}

// drop forgets a Node and returns the ids that it concerns.
func (t *tracker) drop(name string) []string {
	if t.bad[name] {
		delete(t.bad, name)
		t.changed = true
	}
	old := t.nodes[name]
	if old == nil {
		return nil
	}
	delete(t.nodes, name)
	t.size -= old.node.size()
	id := old.claim.ID
	if delete(t.byID[id], name); len(t.byID[id]) == 0 {
		delete(t.byID, id)
	}
	return []string{id}
}

// replace takes a complete listing. What it lacks has been deleted, unless that is more than
// half: then the source may have lost it, as when its database was restored.
func (t *tracker) replace(list []*node, now time.Time) {
	t.full, t.changed = false, true
	clear(t.bad)
	listed := make(map[string]bool, len(list))
	for _, n := range list {
		listed[n.Name] = true
	}
	before := slices.Collect(maps.Keys(t.byID))
	for _, name := range slices.Collect(maps.Keys(t.nodes)) {
		if !listed[name] {
			t.drop(name)
		}
	}
	for _, n := range list {
		t.put(n)
	}
	var gone []string
	for _, id := range before {
		if t.byID[id] == nil {
			gone = append(gone, id)
		}
	}
	if 2*len(gone) <= len(before) {
		t.resolve(gone, now)
	}
	for _, id := range gone {
		delete(t.rivalry, id)
	}
	all := make([]discovery.RawAffiliate, 0, len(t.byID))
	for _, id := range slices.Sorted(maps.Keys(t.byID)) {
		all = append(all, t.raw(id))
	}
	t.table.Replace(all, now)
}

// resolve decides anew who has the ids.
func (t *tracker) resolve(ids []string, now time.Time) {
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if t.byID[id] == nil {
			t.setRivalry(id, nil)
			t.table.Remove(id)
			t.noteRemoved(id)
			continue
		}
		t.table.Update([]discovery.RawAffiliate{t.raw(id)}, now)
	}
}

// noteRemoved notes that no Node has an id any more. Of too many it forgets some: members
// without a Node go all the same, once they have no session.
func (t *tracker) noteRemoved(id string) {
	if len(t.removed) >= maxNodes {
		clear(t.removed)
	}
	t.removed[id], t.changed = true, true
}

// removedIDs returns the node ids whose Nodes were deleted.
func (t *tracker) removedIDs() []string { return slices.Sorted(maps.Keys(t.removed)) }

// raw returns the entry of an id: the claim of the Node that has it.
func (t *tracker) raw(id string) discovery.RawAffiliate {
	names := slices.Sorted(maps.Keys(t.byID[id]))
	winner := t.nodes[names[0]]
	if len(names) > 1 {
		for _, name := range names[:min(len(names), maxClaimants)] {
			if n := t.nodes[name]; t.signed(n) > t.signed(winner) {
				winner = n
			}
		}
	}
	t.setRivalry(id, names, winner.claim.Node)
	data, err := json.Marshal(winner.claim)
	if err != nil { // it has strings only
		panic(err)
	}
	return discovery.RawAffiliate{ID: id, Data: data}
}

// signed returns the sequence of what the Node's id has signed, or 0.
func (t *tracker) signed(n *tracked) uint64 {
	if !n.examined {
		n.examined = true
		if data, err := base64.StdEncoding.DecodeString(n.claim.Sealed); err == nil && len(data) > 0 {
			a, _, err := codec.OpenAffiliate(t.cluster, data, discovery.Known{})
			if err == nil && a.NodeID == n.claim.ID {
				n.sequence = a.Record.Sequence
			}
		}
	}
	return n.sequence
}

// setRivalry notes which Nodes claim an id, and which has it.
func (t *tracker) setRivalry(id string, names []string, winner ...string) {
	var p discovery.Problem
	if len(names) > 1 {
		p = discovery.Problem{AffiliateID: id, Reason: fmt.Sprintf(
			"several Nodes claim this node id: %s; that of %.64q is used; delete the Node that is stale, or its annotations %s and %s",
			someOf(names), winner[0], Affiliate, nodeIDKey)}
	}
	if t.rivalry[id] == p {
		return
	}
	t.changed = true
	if t.rivalry[id] = p; p == (discovery.Problem{}) {
		delete(t.rivalry, id)
	}
}

// someOf returns the first of sorted names, and how many more there are.
func someOf(names []string) string {
	const shown = 4
	text := make([]string, 0, shown)
	for _, n := range names[:min(len(names), shown)] {
		text = append(text, fmt.Sprintf("%.64q", n))
	}
	more := ""
	if n := len(names) - shown; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(text, ", ") + more
}

// problems returns what is wrong beside the data of members.
func (t *tracker) problems() []discovery.Problem {
	t.changed = false
	out := slices.SortedFunc(maps.Values(t.rivalry), func(a, b discovery.Problem) int { return cmp.Compare(a.AffiliateID, b.AffiliateID) })
	if len(t.bad) > 0 {
		out = append(out, discovery.Problem{Reason: fmt.Sprintf(
			"the annotation %s is not a node id: ignored of the Nodes %s", nodeIDKey, someOf(slices.Sorted(maps.Keys(t.bad))))})
	}
	if t.full {
		out = append(out, discovery.Problem{Reason: fmt.Sprintf("Nodes with annotations beyond the limit of %d, or of %d MiB, ignored", maxNodes, maxTracked>>20)})
	}
	return out
}

// open opens the entry of a Node, for [discovery.Table].
func (t *tracker) open(raw discovery.RawAffiliate, known discovery.Known) discovery.Opened {
	var c claim
	if err := json.Unmarshal(raw.Data, &c); err != nil { // as raw has made it
		panic(err)
	}
	problem := func(text string) discovery.Problem {
		return discovery.Problem{AffiliateID: c.ID, Reason: fmt.Sprintf("Node %.64q: %s", c.Node, text)}
	}
	if c.Sealed == "" {
		if known.Sequence != 0 {
			return discovery.Opened{Problems: []discovery.Problem{problem("annotations in Talos' form of a node that signs its data: not used")}}
		}
		a, problems := parsePlain(&c)
		return discovery.Opened{Affiliate: a, Problems: problems}
	}
	data, err := base64.StdEncoding.DecodeString(c.Sealed)
	if err != nil {
		return discovery.Opened{Problems: []discovery.Problem{problem("the annotation " + Affiliate + " is not base64")}}
	}
	o := codec.OpenRaw(t.cluster, discovery.RawAffiliate{ID: c.ID, Data: data}, known)
	for i := range o.Problems {
		o.Problems[i] = problem(o.Problems[i].Reason)
	}
	if a := &o.Affiliate; !a.Record.Signed() && !a.PublicKey.IsZero() {
		a.Endpoints = (&parser{plain: c.Plain}).endpoints() // as at a discovery service, they stand beside it
	}
	return o
}

// self returns this node as the API has it.
func (t *tracker) self() mesh.Affiliate {
	_, a := t.table.Own()
	return a
}

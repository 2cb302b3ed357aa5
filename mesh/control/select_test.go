package control

import (
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh/agent"
)

// A resource is found by its id and by what its node is called.
func TestResourcesByName(t *testing.T) {
	c := serveControl(t, nil)
	p := c.up()
	cl := NewClient(c.path)
	self := c.agent.Status().Node
	for _, test := range []struct {
		typ, id string
		want    string // ids, in order
	}{
		{"peerspecs", p.PublicKey.String(), p.PublicKey.String()},
		{"peerspecs", "NODE-2", p.PublicKey.String()},
		{"peerspecs", p.Address.String(), p.PublicKey.String()},
		{"peerstatus", p.Address.String(), p.PublicKey.String()},
		{"affiliates", "node-2", p.NodeID},
		{"affiliates", p.PublicKey.String(), p.NodeID},
		{"affiliates", p.NodeID, p.NodeID},
		{"members", p.Address.String(), "node-2"},
		{"members", "node-2.example", "node-2"},
		{"affiliates", self.Address.String(), self.ID},
		{"ksi", self.Address.String(), "local"},
		{"ksi", self.Nodename, "local"},
		{"peerspecs", "node-3", ""},
		{"peerspecs", "192.0.2.99", ""},
	} {
		typ, err := agent.FindResourceType(test.typ)
		if err != nil {
			t.Fatal(err)
		}
		list, err := cl.Resources(t.Context(), ResourceQuery{Type: typ, ID: test.id})
		var ids []string
		for _, r := range list {
			ids = append(ids, r.Metadata.ID)
		}
		if got := strings.Join(ids, " "); err != nil || got != test.want {
			t.Errorf("%s %s: %q, %v; want %q", test.typ, test.id, got, err, test.want)
		}
	}
}

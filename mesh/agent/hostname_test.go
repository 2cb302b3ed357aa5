package agent

import (
	"testing"
	"testing/synctest"

	"github.com/wirespan/wirespan/mesh"
)

// A machine that gets its name late, or another one, is announced by it. Before, it is called
// after its node id.
func TestHostnameIsFollowed(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.host.Change(func() { h.host.Name = "" })
		h.find()
		derived := mesh.DerivedHostname(h.agent.self.NodeID)
		h.wantNames(derived, derived)
		h.host.Change(func() { h.host.Name = "Web_1" })
		synctest.Wait()
		h.wantNames("Web_1", "web-1")
		h.host.Change(func() { h.host.Name = "web2.example" })
		synctest.Wait()
		h.wantNames("web2.example", "web2.example")
		h.host.Change(func() { h.host.Name = "___" })
		synctest.Wait()
		h.wantNames("___", derived)
	})
}

// A name that the configuration gives stays, whatever the machine is called.
func TestConfiguredNamesStay(t *testing.T) {
	bubble(t, []string{meshDocument, "---\napiVersion: v1alpha1\nkind: WirespanConfig\nhostname: db1.example\nnodename: db1\n"}, func(h *harness) {
		h.find()
		h.host.Change(func() { h.host.Name = "web2" })
		synctest.Wait()
		h.wantNames("db1.example", "db1")
	})
}

func (h *harness) wantNames(hostname, nodename string) {
	h.t.Helper()
	if a := h.registry().Last().Affiliate; a.Hostname != hostname || a.Nodename != nodename {
		h.t.Errorf("this node is announced as %q, %q; want %q, %q", a.Hostname, a.Nodename, hostname, nodename)
	}
}

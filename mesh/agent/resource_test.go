package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

func TestResourceVersions(t *testing.T) {
	r, typ := NewResources(), ResourceTypes[typeEndpoints].Name
	created := time.Unix(1e9, 0)
	update := func(second int, specs ...string) {
		var all []entry
		for i, s := range specs {
			all = append(all, entry{id: fmt.Sprint(i), spec: s, revealed: s + "+secret"})
		}
		r.update(ResourceType{Name: typ}, all, created.Add(time.Duration(second)*time.Second))
	}
	want := func(what string, lines ...string) {
		t.Helper()
		list, _ := r.List(typ, "", false)
		var got []string
		for _, res := range list {
			m := res.Metadata
			got = append(got, fmt.Sprintf("%s v%d %d %d %s", m.ID, m.Version, m.Created.Unix()-1e9, m.Updated.Unix()-1e9, res.Spec))
		}
		if !slices.Equal(got, lines) {
			t.Errorf("%s: %q, want %q", what, got, lines)
		}
	}
	update(0, "a", "b")
	want("created", `0 v1 0 0 "a"`, `1 v1 0 0 "b"`)
	_, changed := r.List(typ, "", false)
	update(1, "a", "b")
	select {
	case <-changed:
		t.Error("an update without a change is signalled")
	default:
	}
	update(2, "a", "c")
	want("updated", `0 v1 0 0 "a"`, `1 v2 0 2 "c"`)
	select {
	case <-changed:
	default:
		t.Error("a change is not signalled")
	}
	update(3, "a")
	update(4, "a", "c")
	want("made anew", `0 v1 0 0 "a"`, `1 v1 4 4 "c"`)

	if one, _ := r.List(typ, "1", true); len(one) != 1 || string(one[0].Spec) != `"c+secret"` {
		t.Errorf("one with secrets: %+v", one)
	}
	r.update(ResourceType{Name: typ}, []entry{{id: "0", spec: "a"}}, created.Add(5*time.Second))
	want("no secret any more", `0 v2 0 5 "a"`)
	if bare, _ := r.List(typ, "0", true); string(bare[0].Spec) != `"a"` {
		t.Errorf("a secret that is gone: %s", bare[0].Spec)
	}
	if none, _ := r.List(typ, "2", false); len(none) != 0 {
		t.Errorf("an id that isn't there: %+v", none)
	}
}

func TestDiff(t *testing.T) {
	res := func(id string, version int, created int64) Resource {
		return Resource{Metadata: Metadata{ID: id, Version: version, Created: time.Unix(created, 0)}}
	}
	old := []Resource{res("a", 1, 1), res("b", 1, 1), res("c", 2, 1), res("d", 1, 1)}
	next := []Resource{res("a", 1, 1), res("b", 2, 1), res("c", 2, 9), res("e", 1, 9)}
	var got []string
	for _, e := range Diff(old, next) {
		got = append(got, string(e.Type)+" "+e.Resource.Metadata.ID)
	}
	if want := []string{"updated b", "updated c", "created e", "deleted d"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// Resources as an agent shows them: versions stand still while nothing changes.
func TestResourcesOfAgent(t *testing.T) {
	bubble(t, []string{strings.Replace(meshDocument, "enabled: true\n", "enabled: true\nfilters:\n    endpoints: [\"0.0.0.0/0\"]\n", 1)}, func(h *harness) {
		p := testPeer(2, liveEndpoint)
		p.ControlPlanePort = 6443
		h.find(p)
		h.advance(time.Minute)
		h.advance(10 * time.Minute) // down by now
		h.device().Handshake(p.PublicKey, p.Endpoints[0])
		h.advance(time.Second)
		before := dump(h.agent, false)
		h.advance(mesh.PeerDownInterval - time.Minute)
		if after := dump(h.agent, false); after != before {
			t.Errorf("without a change resources went from\n%s\nto\n%s", before, after)
		}
		for _, want := range []string{
			`KubeSpanIdentities.kubespan.talos.dev local v1 {"address":"` + h.agent.self.Address.String() + `/128","subnet":"` + h.agent.self.Subnet.String(),
			`KubeSpanPeerSpecs.kubespan.talos.dev ` + p.PublicKey.String() + ` v1 {"address":"` + p.Address.String() + `","allowedIPs":["` + p.Address.String() + `/128"],"endpoints":["` + liveEndpoint + `"],"label":"node-2"}`,
			`"endpoint":"` + liveEndpoint + `","label":"node-2","state":"up","receiveBytes":148,"transmitBytes":92,"lastHandshakeTime":"2000-`,
			`KubeSpanConfigs.kubespan.talos.dev kubespan v1 {"enabled":true,"clusterId":"` + testClusterID[:8] + `","forceRouting":true,`,
			`"endpointFilters":["0.0.0.0/0"]`,
			`Identities.cluster.talos.dev local v1 {"nodeId":"` + h.agent.self.NodeID + `"}`,
			`Affiliates.cluster.talos.dev ` + p.NodeID + ` v1 {"nodeId":"` + p.NodeID,
			`Members.cluster.talos.dev node-2 v1 {"nodeId":"` + p.NodeID,
			`"controlPlane":{"port":6443}`,
		} {
			if !strings.Contains(before, want) {
				t.Errorf("resources lack %s in\n%s", want, before)
			}
		}
	})
}

// dump is every resource in one text.
func dump(a *Agent, secrets bool) string {
	var b strings.Builder
	for _, typ := range ResourceTypes {
		list, _ := a.Resources().List(typ.Name, "", secrets)
		for _, res := range list {
			fmt.Fprintf(&b, "%s %s v%d %s\n", res.Metadata.Type, res.Metadata.ID, res.Metadata.Version, res.Spec)
		}
	}
	return b.String()
}

// Names by which people ask are unique, and lower case.
func TestResourceTypeNames(t *testing.T) {
	seen := map[string]bool{}
	for _, typ := range ResourceTypes {
		for _, name := range append([]string{typ.Plural, strings.ToLower(typ.Name)}, typ.Aliases...) {
			if seen[name] || name != strings.ToLower(name) {
				t.Errorf("%q names two types, or is not lower case", name)
			}
			seen[name] = true
		}
	}
}

// Talos' names for its resources work as they do with talosctl.
func TestTalosAliases(t *testing.T) {
	for name, want := range map[string]string{
		"kses": "kubespanendpoints", "kscs": "kubespanconfigs", "ksis": "kubespanidentities", "KSI": "kubespanidentities",
		"kubespanpeerspecs.kubespan": "kubespanpeerspecs", "kubespanpeerspecs.kubespan.talos": "kubespanpeerspecs",
		"KubeSpanPeerStatuses.kubespan.talos.dev": "kubespanpeerstatuses", "members.cluster.talos.dev": "members",
		"members.kubespan": "", "members.cluster.talos.develop": "", "members.clus": "", "kspss": "",
	} {
		if got, err := FindResourceType(name); got.Plural != want || (err == nil) != (want != "") {
			t.Errorf("%s is %q, %v", name, got.Plural, err)
		}
	}
}

// What is empty is a list, and metadata is complete.
func TestResourceForm(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		a := testPeer(1)
		a.Addresses = nil
		h.find(a)
		for typ, want := range map[int]string{
			typePeerSpecs: `"endpoints":[]`, typeAffiliates: `"additionalAddresses":[],"endpoints":[]`, typeMembers: `"addresses":[]`,
		} {
			all, _ := h.agent.Resources().List(ResourceTypes[typ].Name, "", false)
			found := false
			for _, res := range all {
				found = found || strings.Contains(string(res.Spec), want)
				if m := res.Metadata; m.Namespace != ResourceTypes[typ].Namespace || m.Owner != "wirespan" || m.Phase != "running" {
					t.Errorf("metadata %+v", m)
				}
			}
			if !found {
				t.Errorf("%s: no %s", ResourceTypes[typ].Plural, want)
			}
		}
		if none, _ := h.agent.Resources().List(ResourceTypes[typeEndpoints].Name, "", false); none == nil {
			t.Error("no resources are null")
		}
	})
}

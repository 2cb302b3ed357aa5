package config_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"go4.org/netipx"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// FuzzLoad: no input crashes, errors name the file, equal input gives an equal
// Config, and what is accepted keeps the rules that other packages rely on.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"talos-legacy.yaml", "talos-multidoc.yaml", "template.golden", "cluster.golden"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(wirespan(everySetting + someRules)))
	f.Add([]byte(wirespan("ingress:\n  rules:" + manyPeers(2))))
	f.Add([]byte("apiVersion: v1alpha1\nkind: NetworkRuleConfig\nname: a\nportSelector: {ports: [22, 80-90], protocol: tcp}\ningress: [{subnet: ::/0}]\n"))
	f.Add([]byte("a: &a {<<: *a, machine: *a}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		files := []config.File{{Name: "a.yaml", Data: data}}
		options := config.Options{ClusterProvided: true}
		c, err := config.Load(files, options)
		if err != nil {
			if text := err.Error(); !strings.HasPrefix(text, "a.yaml") && !strings.Contains(text, " problems:\n  a.yaml") {
				t.Errorf("an error without its file: %q", err)
			}
			return
		}
		m := c.Mesh()
		if m.MTU < mesh.MinimumMTU || m.MachineType != mesh.MachineWorker && m.MachineType != mesh.MachineUnknown {
			t.Errorf("MTU %d, machine type %q", m.MTU, m.MachineType)
		}
		if c.HasIdentity && len(c.Services) > 0 && (c.ClusterID == "" || c.Mesh().ClusterSecret != c.ClusterSecret) {
			t.Error("services without a whole identity")
		}
		for _, s := range c.Services {
			if s.Name == "" || s.Endpoint == "" {
				t.Errorf("service %+v", s)
			}
		}
		wantNetworks(t, c)
		again, err := config.Load(files, options)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("loads differently again: %v", err)
		}
	})
}

// wantNetworks checks what the firewall and package mesh rely on.
func wantNetworks(t *testing.T, c *config.Config) {
	t.Helper()
	if err := c.Firewall.Check(); err != nil {
		t.Error(err)
	}
	var advertised netipx.IPSetBuilder
	for _, n := range c.AdvertisedNetworks {
		if n != n.Masked() {
			t.Errorf("advertises %v", n)
		}
		if set, err := advertised.IPSet(); err != nil || set.OverlapsPrefix(n) {
			t.Errorf("advertised networks overlap: %v", c.AdvertisedNetworks)
		}
		advertised.AddPrefix(n)
	}
	in := firewall.Ingress{Default: c.Ingress.Default}
	for _, r := range c.Ingress.Rules {
		if r.Name == "" || (r.Protocol == "tcp" || r.Protocol == "udp") != (len(r.Ports) > 0) {
			t.Errorf("rule %+v", r)
		}
		in.Rules = append(in.Rules, firewall.IngressRule{
			Name: r.Name, Protocol: r.Protocol, Ports: r.Ports, Sources: firewall.Sources(r.Subnets, nil),
		})
	}
	if err := in.Check(); err != nil {
		t.Error(err)
	}
}

// FuzzParseToken: what is accepted encodes to a token with the same contents.
func FuzzParseToken(f *testing.F) {
	s, err := testToken().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s)
	f.Add(rawToken(`{"c":"a"}`))
	f.Fuzz(func(t *testing.T, s string) {
		for _, s := range []string{s, rawToken(s)} {
			token, err := config.ParseToken(s)
			if err != nil {
				continue
			}
			encoded, err := token.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if again, err := config.ParseToken(encoded); err != nil || !reflect.DeepEqual(again, token) {
				t.Errorf("reads back differently: %v", err)
			}
		}
	})
}

package config_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh/config"
)

const layer = "apiVersion: v1alpha1\nkind: WirespanConfig\n"

func layers(documents ...string) (files []config.File) {
	for i, d := range documents {
		files = append(files, config.File{Name: string(rune('a' + i)), Data: []byte(layer + d)})
	}
	return files
}

// Of each setting the last layer counts, whether it is in another file or in the same one.
func TestLayers(t *testing.T) {
	first := "nodename: one\nmasquerade: true\nlogging: {level: debug}\naddressFilters: [eth0, eth1]\n"
	second := "advertisedNetworks: [10.1.0.0/16]\nlogging: {json: true}\naddressFilters: [eth2]\nnodename: two\n"
	for name, files := range map[string][]config.File{
		"files":    layers(first, second),
		"one file": {{Name: "a", Data: []byte(layer + first + "---\n" + layer + second)}},
	} {
		c, err := config.Load(files, config.Options{ClusterProvided: true})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.Nodename != "two" || !c.Masquerade || c.Logging != (config.Logging{Level: "debug", JSON: true}) ||
			len(c.AddressFilters) != 1 || !slices.Equal(c.AdvertisedNetworks, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}) {
			t.Errorf("%s: %+v", name, c.Wirespan)
		}
	}
}

func TestLayersOfIngress(t *testing.T) {
	rule := func(name string) string {
		return "  rules: [{name: " + name + ", portSelector: {ports: [22], protocol: tcp}, ingress: [{subnet: 10.0.0.0/8}]}]\n"
	}
	c, err := config.Load(layers("ingress:\n  defaultAction: block\n"+rule("a"), "ingress:\n"+rule("b"), "nodename: x\n"), config.Options{ClusterProvided: true})
	if err != nil {
		t.Fatal(err)
	}
	if c.Ingress.Default != firewall.ActionBlock || len(c.Ingress.Rules) != 1 || c.Ingress.Rules[0].Name != "b" {
		t.Errorf("ingress %+v", c.Ingress)
	}
}

// A layer takes a list away by an empty one. What is absent or null changes nothing.
func TestLayersThatAreEmpty(t *testing.T) {
	c, err := config.Load(layers("addressFilters: [eth0]\nnodename: one\n", "addressFilters:\nnodename:\n"), config.Options{ClusterProvided: true})
	if err != nil || len(c.AddressFilters) != 1 || c.Nodename != "one" {
		t.Errorf("null: %v, %+v", err, c)
	}
	c, err = config.Load(layers("addressFilters: [eth0]\n", "addressFilters: []\n"), config.Options{ClusterProvided: true})
	if err != nil || len(c.AddressFilters) != 0 {
		t.Errorf("an empty list: %v, %+v", err, c)
	}
}

// Given names the place of the value that counts.
func TestGiven(t *testing.T) {
	c, err := config.Load(layers("nodename: one\nlistenPort: 1\n", "nodename: two\ningress: {defaultAction: block}\n"), config.Options{
		ClusterProvided: true, Overrides: []config.Override{{Origin: "--listen-port", Key: "listenPort", Value: "2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Given{{"listenPort", "2", "--listen-port"}, {"nodename", "two", "b:3"}, {"ingress.defaultAction", "block", "b:4"}}
	if !slices.Equal(c.Given, want) {
		t.Errorf("given %v, want %v", c.Given, want)
	}
}

func TestNearest(t *testing.T) {
	var names []string
	for s := range config.Settings() {
		names = append(names, s.Env()[len("WIRESPAN_"):])
	}
	for given, want := range map[string]string{
		"LISTEN_PROT": "LISTEN_PORT", "PORT": "LISTEN_PORT", "STATEDIR": "STATE_DIR", "LOG_LEVEL": "LOGGING_LEVEL", "FILTERS": "ADDRESS_FILTERS",
		"NODE_NAME": "NODENAME", "LEVEL": "LOGGING_LEVEL",
	} {
		if got := config.Nearest(given, names...); got != want {
			t.Errorf("%s: nearest %s, want %s", given, got, want)
		}
	}
}

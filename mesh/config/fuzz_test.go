package config_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// FuzzLoad: no input crashes, errors are never empty, equal input gives an equal
// Config, and what is accepted keeps the rules that others rely on.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"talos-legacy.yaml", "talos-multidoc.yaml", "template.golden", "cluster.golden"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(wirespan(everySetting)))
	f.Add([]byte("a: &a {<<: *a, machine: *a}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		files := []config.File{{Name: "a.yaml", Data: data}}
		options := config.Options{ClusterProvided: true}
		c, err := config.Load(files, options)
		if err != nil {
			if !strings.Contains(err.Error(), "\n\t* ") {
				t.Errorf("an error without text: %q", err)
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
		again, err := config.Load(files, options)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("loads differently again: %v", err)
		}
	})
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

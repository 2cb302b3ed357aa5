package config_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

func TestEncodeClusterReadsBack(t *testing.T) {
	secret, err := mesh.ParseSecret(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	services := []config.Service{
		{Name: "default", Endpoint: "discovery.example.org:443"},
		{Name: "own: \"x\"", Endpoint: "[2001:db8::1]:3000", Insecure: true},
	}
	data := config.EncodeCluster("Y2x1c3Rlcg==", secret, services)
	golden(t, "cluster.golden", data)

	c := mustLoad(t, string(data), config.Options{})
	if c.ClusterID != "Y2x1c3Rlcg==" || c.ClusterSecret != secret || !reflect.DeepEqual(c.Services, services) || !c.Mesh().Enabled {
		t.Errorf("read back: %+v", c)
	}
	for _, id := range []string{"true", "123", "a: b", "- x", "&a", "\n", "\x00\xff", "~"} {
		if got := mustLoad(t, string(config.EncodeCluster(id, secret, services)), config.Options{}).ClusterID; got != id {
			t.Errorf("cluster id %q reads back as %q", id, got)
		}
	}
}

func TestTemplate(t *testing.T) {
	data := config.Template()
	golden(t, "template.golden", data)
	c := mustLoad(t, string(data), config.Options{})
	c.Given = nil // it names the defaults
	if want := mustLoad(t, "", config.Options{}); !reflect.DeepEqual(c, want) {
		t.Errorf("the template differs from the defaults: %+v", c)
	}
	// With its comments removed, it sets everything.
	var all strings.Builder
	settings, ingress, _ := strings.Cut(string(data), "# ingress:\n")
	for line := range strings.Lines(settings) {
		key, _, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if word, isComment := strings.CutPrefix(key, "# "); isComment && !strings.Contains(word, " ") {
			line = strings.Replace(line, "# ", "", 1)
		}
		all.WriteString(line)
	}
	all.WriteString("ingress:\n" + strings.ReplaceAll("\n"+ingress, "\n# ", "\n"))
	uncommented := mustLoad(t, all.String(), config.Options{})
	if len(uncommented.Ingress.Rules) != 1 {
		t.Errorf("ingress %+v", uncommented.Ingress)
	}
	set := reflect.ValueOf(uncommented.Wirespan)
	off := []string{"NoClockFix", "Masquerade", "SiteOnLink", "KeyRotation"}
	for i := range set.NumField() {
		if name := set.Type().Field(i).Name; set.Field(i).IsZero() && !slices.Contains(off, name) {
			t.Errorf("%s is not set by:\n%s", name, all.String())
		}
	}
}

func TestNewCluster(t *testing.T) {
	docs, err := config.NewCluster("https://discovery.example.org/", [32]byte{1}, mesh.NewSecret([32]byte{2}))
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load([]config.File{{Name: "new.yaml", Data: docs}}, config.Options{})
	if err != nil || !c.HasIdentity || len(c.Services) != 1 || c.Services[0].Endpoint != "discovery.example.org:443" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, wrong := range []string{"", "discovery.example.org", "ftp://discovery.example.org", "https://"} {
		if _, err := config.NewCluster(wrong, [32]byte{1}, mesh.NewSecret([32]byte{2})); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

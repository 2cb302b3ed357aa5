package config_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh/config"
)

const (
	testSecret = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

	identityDoc = "apiVersion: v1alpha1\nkind: DiscoveryIdentityConfig\nclusterID: id\nclusterSecret: " + testSecret + "\n"
	serviceDoc  = "apiVersion: v1alpha1\nkind: DiscoveryServiceConfig\nname: a\nendpoint: https://a.example\n"
	kubeSpanDoc = "apiVersion: v1alpha1\nkind: KubeSpanConfig\nenabled: true\n"
)

// docs joins documents into one stream.
func docs(d ...string) string { return strings.Join(d, "---\n") }

// kube is a KubeSpanConfig with more keys.
func kube(keys string) string { return kubeSpanDoc + keys }

// wirespan is a WirespanConfig with these keys.
func wirespan(keys string) string { return "apiVersion: v1alpha1\nkind: WirespanConfig\n" + keys }

// load reads one file named a.yaml.
func load(yaml string, options config.Options) (*config.Config, error) {
	return config.Load([]config.File{{Name: "a.yaml", Data: []byte(yaml)}}, options)
}

// mustLoad is load for valid input.
func mustLoad(t *testing.T, yaml string, options config.Options) *config.Config {
	t.Helper()
	c, err := load(yaml, options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// wantProblems checks the text of an error of Load, one problem per item.
func wantProblems(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want:\n%s", strings.Join(want, "\n"))
	}
	text := want[0]
	if len(want) > 1 {
		text = fmt.Sprintf("%d problems:\n  %s", len(want), strings.Join(want, "\n  "))
	}
	if err.Error() != text {
		t.Errorf("error:\n%v\nwant:\n%s", err, text)
	}
	if strings.Contains(err.Error(), testSecret) {
		t.Error("the error shows the cluster secret")
	}
}

// golden compares got with a file below testdata; UPDATE=1 writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

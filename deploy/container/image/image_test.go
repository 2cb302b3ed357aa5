package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// example returns images of two platforms.
func example(t *testing.T) (images []v1.Image) {
	t.Helper()
	r := release{version: "v1.2.3", revision: "abc", created: time.Unix(1_700_000_000, 0).UTC(), certificates: []byte("certificates")}
	for _, arch := range []string{"amd64", "arm"} {
		image, err := r.image(platforms[arch], []byte("binary for "+arch))
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
	}
	return images
}

// written writes the example and returns the directory.
func written(t *testing.T) string {
	t.Helper()
	images := example(t)
	dir := filepath.Join(t.TempDir(), "image")
	if err := write(dir, name.MustParseReference("example.org/wirespan:v1").(name.Tag), images); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The same input gives the same bytes.
func TestReproducible(t *testing.T) {
	read := func(dir string) map[string]string {
		files := map[string]string{}
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			files[strings.TrimPrefix(path, dir)] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	a, b := read(written(t)), read(written(t))
	if len(a) < 8 || len(a) != len(b) {
		t.Fatalf("%d and %d files", len(a), len(b))
	}
	for path, data := range a {
		if b[path] != data {
			t.Errorf("%s differs", path)
		}
	}
}

func TestLayout(t *testing.T) {
	path, err := layout.FromPath(filepath.Join(written(t), "oci"))
	if err != nil {
		t.Fatal(err)
	}
	outer, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(outer); err != nil {
		t.Error(err)
	}
	top, err := outer.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]v1.Hash{}
	for _, d := range top.Manifests {
		entries[d.Annotations["org.opencontainers.image.ref.name"]] = d.Digest
	}
	if got, want := slices.Sorted(maps.Keys(entries)), []string{"v1", "v1-amd64", "v1-arm"}; !slices.Equal(got, want) {
		t.Fatalf("entries of the layout: %q, want %q", got, want)
	}
	inner, err := outer.ImageIndex(entries["v1"])
	if err != nil {
		t.Fatal(err)
	}
	m, err := inner.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range m.Manifests {
		got = append(got, d.Platform.String())
	}
	if want := []string{"linux/amd64", "linux/arm/v7"}; !slices.Equal(got, want) {
		t.Errorf("platforms %q, want %q", got, want)
	}
	if m.Manifests[1].Digest != entries["v1-arm"] {
		t.Error("v1-arm is not the image for arm")
	}
}

// What is in the image is owned and can be used as the agent needs it.
func TestFiles(t *testing.T) {
	images := example(t)
	layers, err := images[0].Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, want 1; %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		mode  int64
		owner int
		data  string // or where a link leads
	}
	got := map[string]entry{}
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != h.Gid || !h.ModTime.Equal(time.Unix(1_700_000_000, 0)) {
			t.Errorf("%s: user %d, group %d, time %s", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		parent := filepath.Dir(strings.TrimSuffix(h.Name, "/")) + "/"
		if _, ok := got[parent]; parent != "./" && !ok {
			t.Errorf("%s comes before its directory", h.Name)
		}
		got[h.Name] = entry{h.Mode, h.Uid, string(data) + h.Linkname}
	}
	for path, want := range map[string]entry{
		"usr/bin/wirespan":                  {0o755, 0, "binary for amd64"},
		"etc/ssl/certs/ca-certificates.crt": {0o644, 0, "certificates"},
		"etc/passwd":                        {0o644, 0, passwd},
		"etc/group":                         {0o644, 0, group},
		"etc/wirespan/":                     {0o755, 0, ""},
		"run/wirespan/":                     {0o755, 65532, ""},
		"var/lib/wirespan/":                 {0o700, 65532, ""},
		"tmp/":                              {0o1777, 0, ""},
		"var/run":                           {0o777, 0, "/run"},
	} {
		if got[path] != want {
			t.Errorf("%s: %+v, want %+v", path, got[path], want)
		}
	}
}

func TestConfig(t *testing.T) {
	images := example(t)
	c, err := images[1].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.OS != "linux" || c.Architecture != "arm" || c.Variant != "v7" || len(c.History) != 1 || !c.Created.Equal(time.Unix(1_700_000_000, 0)) {
		t.Errorf("configuration %+v", c)
	}
	// As docker reads it.
	raw, err := images[1].RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Config struct {
			User            string
			Entrypoint, Cmd []string
			Env             []string
			ExposedPorts    map[string]struct{}
			Volumes         map[string]struct{}
			Labels          map[string]string
			Healthcheck     struct{ Test []string }
		} `json:"config"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	got := d.Config
	if got.User != "65532:65532" || !slices.Equal(slices.Concat(got.Entrypoint, got.Cmd), []string{"/usr/bin/wirespan", "up"}) {
		t.Errorf("runs %q %q as %s", got.Entrypoint, got.Cmd, got.User)
	}
	if want := []string{"CMD", "/usr/bin/wirespan", "status", "--check", "ready"}; !slices.Equal(got.Healthcheck.Test, want) {
		t.Errorf("health check %q, want %q", got.Healthcheck.Test, want)
	}
	if !slices.Contains(got.Env, "WIRESPAN_STATE_DIR=/var/lib/wirespan") {
		t.Errorf("environment %q", got.Env)
	}
	for _, port := range []string{"51820/udp", "51820/tcp"} {
		if _, ok := got.ExposedPorts[port]; !ok {
			t.Errorf("port %s is not exposed", port)
		}
	}
	if _, ok := got.Volumes["/var/lib/wirespan"]; !ok {
		t.Errorf("volumes %v", got.Volumes)
	}
	if got.Labels["org.opencontainers.image.version"] != "v1.2.3" || got.Labels["org.opencontainers.image.revision"] != "abc" {
		t.Errorf("labels %v", got.Labels)
	}
}

// The tar is what docker load takes: manifest.json names a configuration and gzipped layers
// that are in the tar, and the tag.
func TestDockerTar(t *testing.T) {
	path := filepath.Join(written(t), "docker-linux-arm.tar")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	var m []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &m); err != nil {
		t.Fatal(err)
	}
	if len(m) != 1 || !slices.Equal(m[0].RepoTags, []string{"example.org/wirespan:v1"}) || len(m[0].Layers) != 1 {
		t.Fatalf("manifest %+v", m)
	}
	if !strings.Contains(string(files[m[0].Config]), `"architecture":"arm"`) {
		t.Errorf("configuration %q", files[m[0].Config])
	}
	if _, err := gzip.NewReader(strings.NewReader(string(files[m[0].Layers[0]]))); err != nil {
		t.Error(err)
	}
	image, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
}

package main

import (
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// platforms are the architectures of make cross.
var platforms = map[string]v1.Platform{
	"amd64":   {OS: "linux", Architecture: "amd64"},
	"arm64":   {OS: "linux", Architecture: "arm64", Variant: "v8"},
	"arm":     {OS: "linux", Architecture: "arm", Variant: "v7"},
	"riscv64": {OS: "linux", Architecture: "riscv64"},
	"mipsle":  {OS: "linux", Architecture: "mipsle"},
	"386":     {OS: "linux", Architecture: "386"},
}

// release is what the images of all platforms have in common.
type release struct {
	version, revision string
	created           time.Time
	certificates      []byte
}

// image returns the image of a binary: one layer and its configuration.
func (r release) image(p v1.Platform, binary []byte) (v1.Image, error) {
	layer, err := newLayer(r.files(binary), r.created)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant,
		Created: v1.Time{Time: r.created}, Config: r.config(), RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: r.created}, CreatedBy: "make image"},
	})
}

// config is how a container runs. The time-outs of the health check are Docker's own; a node
// that waits for its founder is not ready, which StartPeriod forgives.
func (r release) config() v1.Config {
	return v1.Config{
		User:       "65532:65532",
		Entrypoint: []string{binaryPath},
		Cmd:        []string{"up"},
		Env:        []string{"PATH=/usr/bin", "HOME=" + stateDir, "WIRESPAN_STATE_DIR=" + stateDir},
		WorkingDir: "/",
		ExposedPorts: map[string]struct{}{
			"51820/udp": {}, // WireGuard
			"51820/tcp": {}, // the founder's discovery server
		},
		Volumes: map[string]struct{}{stateDir: {}},
		Healthcheck: &v1.HealthConfig{
			Test:     []string{"CMD", binaryPath, "status", "--check", "ready"},
			Interval: 30 * time.Second, Timeout: 5 * time.Second, StartPeriod: time.Minute, Retries: 3,
		},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "wirespan",
			"org.opencontainers.image.description": "userspace WireGuard mesh",
			"org.opencontainers.image.source":      "https://github.com/wirespan/wirespan",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.version":     r.version,
			"org.opencontainers.image.revision":    r.revision,
			"org.opencontainers.image.created":     r.created.Format(time.RFC3339),
		},
	}
}

// writeLayout writes a layout of an index of all platforms, whose name is the tag, and of the
// image of each, TAG-ARCH, for tools that know no platforms.
func writeLayout(dir, tag string, images []v1.Image) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	named := func(name string) layout.Option {
		return layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name})
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		c, err := image.ConfigFile()
		if err != nil {
			return err
		}
		platform := c.Platform()
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
		if err := path.AppendImage(image, named(tag+"-"+c.Architecture), layout.WithPlatform(*platform)); err != nil {
			return err
		}
	}
	return path.AppendIndex(index, named(tag))
}

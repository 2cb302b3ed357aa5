// Command image makes a container image of the wirespan binary, and of nothing else: no base
// image is pulled and no container engine is needed.
//
// It reads one binary for each platform and writes, below a directory,
//
//	oci/                   an OCI layout with an index of all platforms
//	docker-linux-ARCH.tar  for "docker load", one for each platform
//
// The same binaries, certificates, version and time give the same digests.
//
// It is a module of its own, so that the product depends on none of what it needs. Its tests
// also check the examples in deploy/container and deploy/kubernetes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run() error {
	binaries := flag.String("binaries", "bin", "directory of the binaries wirespan-linux-ARCH")
	archs := flag.String("archs", "amd64,arm64,arm,riscv64,mipsle,386", "Go's names of the architectures, separated by commas")
	certificates := flag.String("certificates", "/etc/ssl/certs/ca-certificates.crt", "CA certificates, PEM")
	tag := flag.String("tag", "wirespan:latest", "name and tag of the image")
	version := flag.String("version", "", "version for the labels")
	revision := flag.String("revision", "", "commit for the labels")
	created := flag.Int64("created", 0, "time of the image and its files, in seconds since 1970")
	out := flag.String("out", "bin/image", "directory to write to; what is in it is removed")
	flag.Parse()

	pem, err := os.ReadFile(*certificates)
	if err != nil {
		return fmt.Errorf("CA certificates of this host: %w (install ca-certificates, or name a file with CERTIFICATES)", err)
	}
	ref, err := name.NewTag(*tag)
	if err != nil {
		return fmt.Errorf("tag: %w", err)
	}
	r := release{version: *version, revision: *revision, created: time.Unix(*created, 0).UTC(), certificates: pem}
	var images []v1.Image
	for arch := range strings.SplitSeq(*archs, ",") {
		p, ok := platforms[arch]
		if !ok {
			return fmt.Errorf("architecture %q has no OCI platform here", arch)
		}
		binary, err := os.ReadFile(filepath.Join(*binaries, "wirespan-linux-"+arch))
		if err != nil {
			return fmt.Errorf("binary: %w (make cross builds it)", err)
		}
		image, err := r.image(p, binary)
		if err != nil {
			return fmt.Errorf("image for %s: %w", p, err)
		}
		images = append(images, image)
	}
	return write(*out, ref, images)
}

// write writes the layout and the tars.
func write(out string, ref name.Tag, images []v1.Image) error {
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := writeLayout(filepath.Join(out, "oci"), ref.TagStr(), images); err != nil {
		return fmt.Errorf("OCI layout: %w", err)
	}
	for _, image := range images {
		c, err := image.ConfigFile()
		if err != nil {
			return err
		}
		path := filepath.Join(out, "docker-linux-"+c.Architecture+".tar")
		if err := tarball.WriteToFile(path, ref, image); err != nil {
			return fmt.Errorf("image for docker load: %w", err)
		}
	}
	return nil
}

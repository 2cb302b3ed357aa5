package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	binaryPath = "/usr/bin/wirespan"
	stateDir   = "/var/lib/wirespan"
	uid        = 65532 // of user and group wirespan
)

const passwd = `root:x:0:0:root:/root:/sbin/nologin
wirespan:x:65532:65532:wirespan:/var/lib/wirespan:/sbin/nologin
`

const group = `root:x:0:
wirespan:x:65532:
`

// file is an entry of the image.
type file struct {
	tar.Header
	data []byte
}

func directory(path string, mode int64, owner int) file {
	return file{tar.Header{Typeflag: tar.TypeDir, Name: path, Mode: mode, Uid: owner, Gid: owner}, nil}
}

func regular(path string, mode int64, data []byte) file {
	return file{tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: mode, Size: int64(len(data))}, data}
}

func link(path, to string) file {
	return file{tar.Header{Typeflag: tar.TypeSymlink, Name: path, Linkname: to, Mode: 0o777}, nil}
}

// files returns all that is in the image. The agent itself needs no /tmp; another user than
// 65532 has its control socket there. Programs look for wg(8) sockets below /var/run.
func (r release) files(binary []byte) []file {
	return []file{
		directory("etc/", 0o755, 0),
		regular("etc/group", 0o644, []byte(group)),
		regular("etc/passwd", 0o644, []byte(passwd)),
		directory("etc/ssl/", 0o755, 0),
		directory("etc/ssl/certs/", 0o755, 0),
		regular("etc/ssl/certs/ca-certificates.crt", 0o644, r.certificates),
		directory("etc/wirespan/", 0o755, 0),
		directory("run/", 0o755, 0),
		directory("run/wirespan/", 0o755, uid),
		directory("tmp/", 0o1777, 0),
		directory("usr/", 0o755, 0),
		directory("usr/bin/", 0o755, 0),
		regular(binaryPath[1:], 0o755, binary),
		directory("var/", 0o755, 0),
		directory("var/lib/", 0o755, 0),
		directory(stateDir[1:]+"/", 0o700, uid),
		link("var/run", "/run"),
	}
}

// newLayer returns a layer of files, all of the same time.
func newLayer(files []file, at time.Time) (v1.Layer, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	for _, f := range files {
		f.ModTime = at
		if err := w.WriteHeader(&f.Header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

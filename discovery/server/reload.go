package server

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ReloadingCertificate returns a function for [tls.Config.GetCertificate] that
// serves a certificate and key from files which another program renews. It loads
// them now, and again when a file changes. If a changed pair is unusable, for
// example because only one file is replaced yet, it logs that once and keeps the
// previous pair.
func ReloadingCertificate(certPath, keyPath string, log hclog.Logger) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	r := &reloader{certPath: certPath, keyPath: keyPath, log: log}
	if err := r.load(); err != nil {
		return nil, err
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.current(), nil }, nil
}

type reloader struct {
	certPath, keyPath string
	log               hclog.Logger

	mu   sync.Mutex
	seen [2]fileStamp // of the last attempt to load
	cert *tls.Certificate
}

// fileStamp changes when a file is written or replaced.
type fileStamp struct {
	modified time.Time
	size     int64
}

func (r *reloader) current() *tls.Certificate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stamps, err := r.stamps(); err == nil && stamps != r.seen {
		if err := r.load(); err != nil {
			r.log.Warn("changed certificate not used, keeping the previous one", "error", err)
		} else {
			r.log.Info("certificate reloaded", "path", r.certPath)
		}
	}
	return r.cert
}

func (r *reloader) load() error {
	stamps, err := r.stamps() // before reading, so that the next call notices a write in between
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	r.seen = stamps
	cert, err := tls.LoadX509KeyPair(r.certPath, r.keyPath)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", r.certPath, r.keyPath, err)
	}
	r.cert = &cert
	return nil
}

func (r *reloader) stamps() (s [2]fileStamp, err error) {
	for i, path := range []string{r.certPath, r.keyPath} {
		info, err := os.Stat(path)
		if err != nil {
			return s, err
		}
		s[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return s, nil
}

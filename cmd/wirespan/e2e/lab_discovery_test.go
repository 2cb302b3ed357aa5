package e2e

import (
	"context"
	"errors"
	"path/filepath"
	"time"
)

// labDiscovery is a discovery server on a host that is not a node.
type labDiscovery struct {
	*labHost
	flags []string
	proc  *labProcess
}

// discovery prepares a discovery server with a snapshot. Its metrics are at port 2122.
func (h *labHost) discovery() *labDiscovery {
	return &labDiscovery{labHost: h, flags: []string{
		"discovery", "serve", "--listen", h.address + ":3000", "--metrics-listen", h.address + ":2122",
		"--snapshot-path", filepath.Join(h.dir, "discovery.snapshot"),
	}}
}

func (s *labDiscovery) url() string { return "http://" + s.address + ":3000" }

func (s *labDiscovery) start() {
	s.Helper()
	s.proc = s.spawn("discovery", append([]string{s.binary}, s.flags...)...)
	eventually(s.T, 20*time.Second, func() error {
		conn, err := s.dial(context.Background(), "tcp", s.address+":3000")
		if err != nil {
			return errors.Join(err, s.proc.running())
		}
		return conn.Close()
	})
}

// newCluster returns the Talos documents of a new cluster that uses the server.
func (s *labDiscovery) newCluster() string {
	s.Helper()
	return s.mustExec(s.binary, "gen", "config", "--discovery-endpoint", s.url())
}

//go:build !edge

package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/state"
)

// This file is what the edge build leaves out; edge.go refuses it there.

const hasNetstack = true

const snapshotFile = "discovery.snapshot"

// checkBuild returns an error for what this build lacks.
func checkBuild(c *config.Config) error { return checkKubernetes(c) }

func newNetstack(address netip.Addr, mtu int) (Stack, error) {
	return netstack.New(netstack.Config{Addresses: []netip.Addr{address}, MTU: mtu})
}

// found creates a mesh whose founder this node is.
func found(st *state.Dir) (*state.Cluster, error) {
	if _, err := st.Read(server.KeyFile); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state directory %q holds the key of a discovery server, but cluster.yaml is missing: restore it from a backup, or remove %s to found a new mesh", st.Root(), server.KeyFile)
	}
	return state.FoundCluster(st)
}

// newServer makes the discovery server of a founder, and returns the pin of its key.
func (n *Node) newServer() (*server.Server, [32]byte, error) {
	cert, pin, err := n.certificate()
	if err != nil {
		return nil, pin, err
	}
	present := n.membership.present()
	cfg := server.Config{
		OnlyCluster: mesh.DiscoveryID(present.ID, present.Secret),
		Enrol:       n.enrol,
		Other:       n.relaying.accept,
		TLS:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		Log:         n.log.Named("server"),
	}
	if n.state.Root() != config.StateMemory {
		cfg.SnapshotPath = n.state.Path(snapshotFile)
	}
	srv, err := server.New(cfg)
	return srv, pin, err
}

// certificate returns the server's certificate and its pin.
func (n *Node) certificate() (tls.Certificate, [32]byte, error) {
	if n.state.Root() == config.StateMemory {
		return server.MemoryCertificate(time.Now())
	}
	return server.Certificate(n.state.Root(), time.Now(), n.log.Named("server"))
}

// gatherMetrics returns the metrics of all parts.
func (n *Node) gatherMetrics() control.Metrics {
	own := prometheus.NewRegistry()
	own.MustRegister(n.access.Metrics(), relayCollector{n.relaying.Usage})
	others := []prometheus.Gatherer{own}
	if n.server != nil {
		others = append(others, n.server.server.Metrics())
	}
	return control.NewMetrics(n.agent, others...)
}

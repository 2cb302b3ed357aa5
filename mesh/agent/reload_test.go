package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

func TestReloadKeepsWhatItHas(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.find(testPeer(2, liveEndpoint))
		before := h.agent.Status()
		h.reload = func() (*Effective, error) { return nil, errTest }
		if _, err := h.agent.Reload(h.t.Context()); !errors.Is(err, errTest) {
			t.Errorf("Reload = %v", err)
		}
		dev := h.device()
		dev.With(func() { dev.PortErr = errTest })
		h.reload = func() (*Effective, error) {
			return settings(t, otherCluster(), "---\napiVersion: v1alpha1\nkind: WirespanConfig\nlistenPort: 4000\n"), nil
		}
		if _, err := h.agent.Reload(h.t.Context()); !errors.Is(err, errTest) {
			t.Errorf("Reload with a port that can't be had = %v", err)
		}
		h.advance(mesh.ReconcileInterval)
		after := h.agent.Status()
		if after.Cluster != before.Cluster || after.Node != before.Node || len(after.Peers) != 1 || len(h.registries) != 1 {
			t.Errorf("a reload that failed changed %+v\nto %+v", before, after)
		}
	})
}

func TestReloadWithADeniedPort(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.find() // a nodename is announced once discovery has answered
		dev := h.device()
		dev.With(func() { dev.PortErr = fmt.Errorf("open UDP port 500: %w", unix.EACCES) })
		h.reload = func() (*Effective, error) {
			return settings(t, identityDocuments, meshDocument, "---\napiVersion: v1alpha1\nkind: WirespanConfig\nlistenPort: 500\nnodename: renamed\nbackend: netstack\n"), nil
		}
		for range 2 { // it still waits the second time
			restart, err := h.agent.Reload(h.t.Context())
			if err != nil || !slices.Equal(restart, []string{"backend", "listenPort"}) {
				t.Errorf("Reload = %v, %v", restart, err)
			}
			synctest.Wait()
			if n := h.agent.Status().Node; n.Nodename != "renamed" || n.ListenPort != 51820 {
				t.Errorf("node %+v", n)
			}
		}
		dev.With(func() { dev.PortErr = fmt.Errorf("open UDP port 500: %w", unix.EADDRINUSE) })
		if _, err := h.agent.Reload(h.t.Context()); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("Reload with a port in use = %v", err)
		}
	})
}

func TestReloadWithoutSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.config.Reload = nil
		h.start()
		if _, err := h.agent.Reload(h.t.Context()); err == nil {
			t.Error("Reload succeeds with nothing to read")
		}
		gone, cancel := context.WithCancel(h.t.Context())
		cancel()
		if _, err := h.agent.Reload(gone); err == nil {
			t.Error("Reload with a context that has ended succeeds")
		}
		h.stop()
	})
}

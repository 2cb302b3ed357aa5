//go:build !edge

package access

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/config"
)

// A condition names the service or the forward that it is about: people see no more of it.
func TestConditionsName(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := config.ParseForward(taken+":node-2:80", config.ForwardLocal)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Directory: newKnowledge(), Plane: sockets{}, Log: hclog.NewNullLogger()}, &config.Wirespan{
		LocalForwards: []config.Forward{f}, Proxy: config.Proxy{Listen: []config.Listener{{Network: "unix", Address: taken}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for len(s.Conditions()) < 2 {
		<-s.Changed()
	}
	for _, c := range s.Conditions() {
		if !strings.Contains(c.Message, c.Subject) {
			t.Errorf("%s: %s does not name %s", c.Type, c.Message, c.Subject)
		}
	}
}

// The log says why a forward resets its clients, but not for each of them.
func TestTargetLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	f, err := config.ParseForward(path+":nobody:80", config.ForwardLocal)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer // read when all has ended
	s, err := New(Config{Directory: newKnowledge(), Plane: sockets{}, Log: hclog.New(&hclog.LoggerOptions{Output: &log})}, &config.Wirespan{LocalForwards: []config.Forward{f}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	for range 2 {
		c, err := net.Dial("unix", path)
		for err != nil && t.Context().Err() == nil {
			c, err = net.Dial("unix", path)
		}
		_, _ = io.ReadAll(c)
		_ = c.Close()
	}
	cancel()
	running.Wait()
	if n := strings.Count(log.String(), "can't be reached"); n != 1 || !strings.Contains(log.String(), fmt.Sprint("-L ", f)) {
		t.Errorf("%d warnings in %q", n, log.String())
	}
}

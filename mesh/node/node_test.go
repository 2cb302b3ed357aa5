package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// testConfig returns the configuration of a node with a netstack. Its firewall has numbers
// that no other program uses, since Leave removes what they name from the kernel as root.
func testConfig(t *testing.T, dir string, documents ...string) *config.Config {
	t.Helper()
	if dir != config.StateMemory {
		dir = config.StateMemory + ":" + dir // /tmp may be a tmpfs
	}
	documents = append(documents, fmt.Sprintf(`
apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
---
apiVersion: v1alpha1
kind: WirespanConfig
backend: netstack
interfaceName: wst%d
stateDir: %s
controlSocket: %s
discoveryListen: 127.0.0.1:0
noClockFix: true
firewall: {table: wirespan-test-%[1]d, routingTable: 7129, rulePriority: 7129}
`, os.Getpid(), dir, filepath.Join(t.TempDir(), "s")))
	return must(config.Load([]config.File{{Name: "f", Data: []byte(strings.Join(documents, "---\n"))}}, config.Options{ClusterProvided: true}))
}

// runNode runs a node until stop is called, which returns the result of Run.
func runNode(t *testing.T, c Config) (n *Node, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n, err := Open(ctx, c)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	return n, func() error {
		cancel()
		return <-ended
	}
}

func TestLeaveUnknownNode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	c := Config{Config: testConfig(t, dir)}
	if left, err := Leave(t.Context(), c); left || err != nil {
		t.Errorf("Leave = %v, %v", left, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Leave has created the state directory: %v", err)
	}
	if restored, err := RestoreRules(c.Config, hclog.NewNullLogger()); restored || err != nil {
		t.Errorf("RestoreRules = %v, %v", restored, err)
	}
}

// A node whose discovery service does not answer leaves, but reports it.
func TestLeaveWithoutService(t *testing.T) {
	dir := t.TempDir()
	if _, err := GenerateKeys(dir, nil); err != nil {
		t.Fatal(err)
	}
	c := Config{Config: testConfig(t, dir, strings.ReplaceAll(testDocuments, "https://discovery.example/", "http://127.0.0.1:1/"))}
	left, err := Leave(t.Context(), c)
	if !left || err == nil || !strings.Contains(err.Error(), "deleting this node from discovery service one: ") || !strings.Contains(err.Error(), "expires by itself") {
		t.Errorf("Leave = %v, %v", left, err)
	}
}

func TestKnown(t *testing.T) {
	dir, identity := t.TempDir(), t.TempDir()
	if _, err := GenerateKeys(identity, nil); err != nil {
		t.Fatal(err)
	}
	c := testConfig(t, dir)
	if known, err := Known(c); known || err != nil {
		t.Errorf("without an identity: %v, %v", known, err)
	}
	c.IdentityDir = identity
	if known, err := Known(c); !known || err != nil {
		t.Errorf("with an identity directory: %v, %v", known, err)
	}
	c.StateDir, c.IdentityDir = identity, ""
	if known, err := Known(c); !known || err != nil {
		t.Errorf("with an identity in the state directory: %v, %v", known, err)
	}
}

// A node leaves when it stops if its state is lost then, unless it is configured.
func TestLeaveOnStop(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		dir        string
		configured *bool
		want       bool
	}{
		{config.StateMemory, nil, true},
		{config.StateMemory, &no, false},
		{"/proc", nil, false},
		{"/proc", &yes, true},
	} {
		n := &Node{state: must(state.Open(test.dir, nil))}
		e := must(effective(testConfig(t, test.dir, testDocuments), nil, service{}))
		e.LeaveOnStop = test.configured
		if got := n.leaveOnStop(e); got != test.want {
			t.Errorf("state in %s, configured %v: %v, want %v", test.dir, test.configured, got, test.want)
		}
	}
}

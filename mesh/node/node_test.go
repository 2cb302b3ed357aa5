package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/agent"
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

// TestFounder runs a node that founds a cluster, without privileges: it shows its join
// token, keeps its state over a restart, and can be made to leave when it does not run.
func TestFounder(t *testing.T) {
	dir := t.TempDir()
	tokens := make(chan string, 10)
	c := Config{Config: testConfig(t, dir), ShowToken: func(token string) bool { tokens <- token; return true }}

	if _, err := Token(c, 1, time.Hour); !errors.Is(err, errNoCluster) {
		t.Errorf("token before there is a node: %v", err)
	}
	n, stop := runNode(t, c)
	shown := <-tokens
	id := statusOf(t, n).Node.ID
	if _, err := Token(c, 1, time.Hour); err == nil || !strings.Contains(err.Error(), "another agent is using it") {
		t.Errorf("token without the agent that runs: %v", err)
	}
	if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "another agent is using it") {
		t.Errorf("a second node with the same state directory: %v", err)
	}
	if left, err := Leave(t.Context(), c); left || err == nil || !strings.Contains(err.Error(), "another agent is using it") {
		t.Errorf("Leave while the node runs: %v, %v", left, err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	token, err := config.ParseToken(shown)
	if err != nil || len(token.Servers) != 1 || !strings.HasPrefix(token.Servers[0], "127.0.0.1:") {
		t.Errorf("token %+v, %v", token, err)
	}

	n, stop = runNode(t, c)
	renewed, err := config.ParseToken(<-tokens) // the server has another port now
	if err != nil || renewed.ID != token.ID || renewed.Key != token.Key || slices.Equal(renewed.Servers, token.Servers) {
		t.Errorf("the token after a restart is %+v, %v", renewed, err)
	}
	if got := statusOf(t, n).Node.ID; got != id {
		t.Errorf("the node id is %s after a restart, was %s", got, id)
	}
	if err := stop(); err != nil {
		t.Errorf("Run after a restart: %v", err)
	}
	made, err := Token(c, 3, time.Hour)
	if other, err2 := config.ParseToken(made); err != nil || err2 != nil || other.ID == token.ID || other.Authority != token.Authority {
		t.Errorf("a token without an agent: %v, %v, %+v", err, err2, other)
	}
	if left, err := Leave(t.Context(), c); !left || err != nil {
		t.Errorf("Leave = %v, %v", left, err)
	}
}

// statusOf returns a node's status after a pass: a token is shown before the first one ends.
func statusOf(t *testing.T, n *Node) *agent.Status {
	t.Helper()
	if err := n.Agent().Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n.Agent().Status()
}

// A node that is closed without having run gives everything back, and only once.
func TestClose(t *testing.T) {
	c := Config{Config: testConfig(t, t.TempDir())}
	for range 2 {
		n, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := n.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		}
	}
	if c.Config.ClusterID != "" || !c.Config.ClusterSecret.IsZero() {
		t.Error("the cluster was written into the caller's configuration")
	}
}

// The token goes to a file that only the user can read.
func TestJoinTokenFile(t *testing.T) {
	dir := t.TempDir()
	c := Config{Config: testConfig(t, dir)}
	hangups := make(chan os.Signal)
	c.Hangups = hangups
	loaded := make(chan struct{})
	c.Load = func() (*config.Config, error) {
		defer close(loaded)
		return testConfig(t, dir), nil
	}
	_, stop := runNode(t, c)
	hangups <- os.Interrupt // any signal: the channel decides
	<-loaded                // the loop runs, and has written the token before
	if err := stop(); err != nil {
		t.Error(err)
	}
	path := filepath.Join(dir, joinTokenFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if token, err := config.ParseToken(string(data)); err != nil || len(token.Servers) != 1 {
		t.Errorf("the file holds %q: %v", data, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
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

func TestTokenErrors(t *testing.T) {
	configured := func(dir string) Config { return Config{Config: testConfig(t, dir, testDocuments)} }
	plain := func(dir string) Config { return Config{Config: testConfig(t, dir)} }
	keys := func(dir string) {
		if _, err := GenerateKeys(dir, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		config  func(dir string) Config
		prepare func(dir string)
		want    string
	}{
		"no node":           {plain, func(string) {}, errNoCluster.Error()},
		"no cluster":        {plain, keys, errNoCluster.Error()},
		"cluster in files":  {configured, keys, errNoCluster.Error()},
		"no server address": {plain, func(dir string) { keys(dir); must(state.FoundCluster(must(state.Open(dir, nil)))) }, "no address of the discovery server is known"},
		"no founder": {plain, func(dir string) {
			keys(dir)
			must(state.JoinCluster(must(state.Open(dir, nil)), testToken(), testMembership()))
		}, "only the founder of a mesh makes join tokens"},
		"damaged cluster": {plain, func(dir string) {
			keys(dir)
			if err := must(state.Open(dir, nil)).Create("cluster.yaml", []byte("{")); err != nil {
				t.Fatal(err)
			}
		}, "damaged YAML"},
	} {
		dir := t.TempDir()
		test.prepare(dir)
		if token, err := Token(test.config(dir), 1, time.Hour); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: token %q, error %v; want %q", name, token, err, test.want)
		}
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

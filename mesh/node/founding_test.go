//go:build !edge

package node

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// A node without a cluster founds one, unless the state directory shows that it had one.
func TestFoundCluster(t *testing.T) {
	dir := t.TempDir()
	if n, err := entered(t, Config{Config: testConfig(t, dir)}); err != nil || !n.founder() {
		t.Errorf("a new cluster: %+v, %v", n.membership.present(), err)
	}
	dir = t.TempDir()
	if err := must(state.Open(dir, nil)).Create(server.KeyFile, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := entered(t, Config{Config: testConfig(t, dir)}); err == nil || !strings.Contains(err.Error(), "cluster.yaml is missing") {
		t.Errorf("a server's key without its cluster: %v", err)
	}
}

// A node joins by a token that only one node may use: it starts again without the
// founder's help, and another node is refused and has joined nothing.
func TestJoin(t *testing.T) {
	anyPort := func(dir string) *config.Config {
		c := testConfig(t, dir)
		c.ListenPort = 0
		return c
	}
	shown := make(chan string, 10)
	founder, stop := runNode(t, Config{Config: anyPort(t.TempDir()), ShowToken: func(s string) bool { shown <- s; return true }})
	<-shown // the founder knows its address
	token := must(config.ParseToken(must(founder.NewToken(1, time.Hour))))
	if token.Authority != founder.membership.present().Authority {
		t.Error("not the authority of the mesh")
	}

	dir := t.TempDir()
	c := Config{Config: anyPort(dir), Token: &token}
	member, stopMember := runNode(t, c)
	connected(t, member)
	if _, err := member.NewToken(1, time.Hour); !errors.Is(err, errNotFounder) {
		t.Errorf("a member makes a token: %v", err)
	}
	if err := stopMember(); err != nil {
		t.Error(err)
	}
	if got := must(state.LoadCluster(must(state.Open(dir, nil)))); got.ID != founder.membership.present().ID || got.Secret != founder.membership.present().Secret {
		t.Error("the member has joined another cluster")
	}

	other := t.TempDir()
	if _, err := entered(t, Config{Config: testConfig(t, other), Token: &token}); err == nil || !strings.Contains(err.Error(), "joining: the join token is used up: it was for 1") {
		t.Errorf("a second node: %v", err)
	}
	if c, err := state.LoadCluster(must(state.Open(other, nil))); c != nil || err != nil {
		t.Errorf("a node that was refused has the cluster %v, %v", c, err)
	}
	forged := token
	forged.Key = mesh.NewSecret([32]byte{9})
	if _, err := entered(t, Config{Config: testConfig(t, other), Token: &forged}); err == nil || !strings.Contains(err.Error(), "the founder does not know this join token") {
		t.Errorf("a made-up token: %v", err)
	}
	strange := token
	strange.Pin[0]++
	if _, err := entered(t, Config{Config: testConfig(t, other), Token: &strange}); err == nil || !strings.Contains(err.Error(), "certificate pin mismatch") {
		t.Errorf("another server: %v", err)
	}

	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := entered(t, c); err != nil {
		t.Errorf("the member again, with its token and without the founder: %v", err)
	}
}

// The token that a founder offers is replaced when it is used up.
func TestOfferedTokenIsRenewed(t *testing.T) {
	st := must(state.Open(config.StateMemory, nil))
	n := &Node{log: (Config{}).logger(), state: st, founding: founding{server: &embeddedServer{pin: [32]byte{7}}}}
	n.membership.enterCluster(must(state.FoundCluster(st)))
	n.keys.NodeID = mesh.NewNodeKey([32]byte{99}).NodeID()
	n.tokens = must(openTokens(st, n.membership.present()))
	var offered []config.Token
	n.cfg.ShowToken = func(s string) bool { offered = append(offered, must(config.ParseToken(s))); return true }
	if n.offer(); len(offered) != 0 {
		t.Errorf("offered without an address: %v", offered)
	}
	n.tokens.advertise([]string{"192.0.2.1:1"}, n.server.pin)
	n.offer()
	n.offer()
	if len(offered) != 1 {
		t.Fatalf("offered %d tokens, want 1", len(offered))
	}
	first := offered[0]
	for i := range offeredUses {
		e := mesh.NewEnrolment(first.ID, first.Key, mesh.NewNodeKey([32]byte{byte(i)}), n.server.pin)
		answer, err := n.enrol(t.Context(), e.Encode())
		if m, err2 := mesh.ParseMembership(answer); err != nil || err2 != nil || m.Secret != n.membership.present().Secret {
			t.Errorf("node %d: %v, %v", i, err, err2)
		}
		if want := 1 + i/(offeredUses-1); len(offered) != want {
			t.Errorf("%d tokens offered after %d nodes, want %d", len(offered), i+1, want)
		}
	}
	if second := offered[len(offered)-1]; second.ID == first.ID || second.Key == first.Key {
		t.Error("the same token is offered again")
	}
	n.tokens.advertise([]string{"192.0.2.2:1"}, n.server.pin)
	if n.offer(); len(offered) != 3 || offered[2].ID != offered[1].ID || offered[2].Servers[0] != "192.0.2.2:1" {
		t.Errorf("with another address: %d tokens offered", len(offered))
	}
	if _, err := n.enrol(t.Context(), []byte("x")); !errors.As(err, new(discovery.Refusal)) {
		t.Errorf("an invalid request: %v", err)
	}
}

// A founder without an address for others has a condition that says so and names the links
// that it does not announce, until there is an address.
func TestFounderSaysWhyItHasNoToken(t *testing.T) {
	st := must(state.Open(config.StateMemory, nil))
	listener := must(net.Listen("tcp", "[::]:0"))
	defer listener.Close()
	n := &Node{log: hclog.NewNullLogger(), state: st, config: &config.Config{}, founding: founding{server: &embeddedServer{listener: listener, pin: [32]byte{1}}}}
	n.membership.enterCluster(must(state.FoundCluster(st)))
	n.tokens = must(openTokens(st, n.membership.present()))
	links := []mesh.Link{
		{Name: "lo", Up: true, Loopback: true, Addresses: prefixes("127.0.0.1/8")},
		{Name: "veth1", Kind: "veth", Up: true, Addresses: prefixes("10.9.0.1/24")},
		{Name: "br0", Kind: "bridge", Up: true, Addresses: prefixes("10.8.0.1/24")},
		{Name: "down0", Kind: "veth", Addresses: prefixes("10.7.0.1/24")},
	}
	for range 2 {
		got := n.observed(links)
		if len(got) != 1 || got[0].Type != mesh.ConditionNoJoinToken || !strings.Contains(got[0].Message, "by veth1 (veth), br0 (bridge), and") || !strings.Contains(got[0].Message, "--address-filters") {
			t.Errorf("conditions %+v", got)
		}
	}
	if _, err := n.NewToken(1, time.Hour); err == nil || !strings.Contains(err.Error(), "veth1 (veth)") {
		t.Errorf("wirespan token: %v", err)
	}
	if got := passedOver(links, []mesh.AddressFilter{{Link: "veth1"}}); len(got) != 1 || got[0] != "br0 (bridge)" {
		t.Errorf("with a filter that admits one: %q", got)
	}
	links[1].DefaultRoute = true
	if got := n.observed(links); len(got) != 0 || n.offered == "" {
		t.Errorf("with a default route: token %q and conditions %+v", n.offered, got)
	}
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// connected waits until a node's discovery service has answered.
func connected(t *testing.T, n *Node) {
	t.Helper()
	for s := n.Agent().Status(); !answered(s); s = n.Agent().Status() {
		select {
		case <-s.Changed():
		case <-t.Context().Done():
			t.Fatal("not connected")
		}
	}
}

func answered(s *agent.Status) bool { return len(s.Discovery) == 1 && s.Discovery[0].Connected }

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

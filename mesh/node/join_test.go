package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
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

func testToken() config.Token {
	return config.Token{
		Servers: []string{"127.0.0.1:1", "[::1]:1"}, Pin: [32]byte{1, 2, 3},
		Authority: mesh.NewAuthorityKey([32]byte{4}).Authority(), ID: mesh.EnrolmentID{5}, Key: mesh.NewSecret([32]byte{6}),
		Expires: time.Unix(1_800_000_000, 0).UTC(),
	}
}

func testMembership() mesh.Membership {
	return mesh.Membership{ClusterID: testClusterID, Secret: must(mesh.ParseSecret(testSecret)), Authority: testToken().Authority, Founder: mesh.NewNodeKey([32]byte{8}).NodeID()}
}

// entered returns a node that has entered its cluster, or the error.
func entered(t *testing.T, c Config) (*Node, error) {
	t.Helper()
	n := must(locate(c))
	if err := n.take(); err != nil {
		t.Fatal(err)
	}
	err := n.enter(t.Context())
	return n, errors.Join(err, n.Close())
}

// Which cluster a node enters without anybody's help: one that the configuration names,
// one of the state directory, or a new one.
func TestEnter(t *testing.T) {
	token := testToken()
	dir := t.TempDir()
	if _, err := entered(t, Config{Config: testConfig(t, dir, testDocuments), Token: &token}); !errors.Is(err, ErrTwoClusters) {
		t.Errorf("a token beside a configured cluster: %v", err)
	}
	if n, err := entered(t, Config{Config: testConfig(t, dir, testDocuments)}); err != nil || n.membership.present() != nil {
		t.Errorf("a configured cluster: %+v, %v", n.membership.present(), err)
	}
	st := must(state.Open(dir, nil))
	if err := st.Create(server.KeyFile, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := entered(t, Config{Config: testConfig(t, dir)}); err == nil || !strings.Contains(err.Error(), "cluster.yaml is missing") {
		t.Errorf("a server's key without its cluster: %v", err)
	}
	joined := must(state.JoinCluster(st, token, testMembership()))
	if n, err := entered(t, Config{Config: testConfig(t, dir)}); err != nil || !reflect.DeepEqual(n.membership.present(), joined) {
		t.Errorf("the state directory: %+v, %v", n.membership.present(), err)
	}
	if n, err := entered(t, Config{Config: testConfig(t, dir), Token: &token}); err != nil || !reflect.DeepEqual(n.membership.present(), joined) {
		t.Errorf("the same token again: %+v, %v", n.membership.present(), err)
	}
	moved := token
	moved.Servers = []string{"127.0.0.1:2"}
	if n, err := entered(t, Config{Config: testConfig(t, dir), Token: &moved}); err != nil || n.membership.present().Servers[0] != "127.0.0.1:2" || n.membership.present().Secret != joined.Secret {
		t.Errorf("the same token with another address: %+v, %v", n.membership.present(), err)
	}
	joined = must(state.LoadCluster(st))
	later := token
	later.ID[0]++
	if n, err := entered(t, Config{Config: testConfig(t, dir), Token: &later}); err != nil || !reflect.DeepEqual(n.membership.present(), joined) {
		t.Errorf("another token of the same mesh, whose founder does not answer: %+v, %v", n.membership.present(), err)
	}
	replaced := *joined // the mesh has another authority since the token was made
	replaced.Authority = mesh.NewAuthorityKey([32]byte{77}).Authority()
	if err := state.SaveCluster(st, &replaced); err != nil {
		t.Fatal(err)
	}
	if n, err := entered(t, Config{Config: testConfig(t, dir), Token: &token}); err != nil || n.membership.present().Authority != replaced.Authority {
		t.Errorf("the same token after the authority was replaced: %+v, %v", n.membership.present(), err)
	}
	founder := t.TempDir()
	if n, err := entered(t, Config{Config: testConfig(t, founder)}); err != nil || !n.founder() {
		t.Errorf("a new cluster: %+v, %v", n.membership.present(), err)
	}
	if _, err := entered(t, Config{Config: testConfig(t, founder), Token: &token}); err == nil || !strings.Contains(err.Error(), "this node founded another cluster") {
		t.Errorf("a founder with the token of another mesh: %v", err)
	}
}

// A node whose id cannot sign has no place in a mesh without Talos nodes.
func TestOwnMeshNeedsNodeKey(t *testing.T) {
	token := testToken()
	for name, tc := range map[string]struct {
		token  *config.Token
		member bool
	}{
		"a founder":     {},
		"who joins":     {token: &token},
		"a member":      {member: true},
		"a member anew": {token: &token, member: true},
	} {
		dir := t.TempDir()
		id := mesh.EncodeNodeIdentity(mesh.NodeIDFromBytes([32]byte{1}))
		if err := os.WriteFile(filepath.Join(dir, mesh.NodeIdentityFile), id, 0o600); err != nil {
			t.Fatal(err)
		}
		if tc.member {
			st := must(state.Open(dir, hclog.NewNullLogger()))
			c := &state.Cluster{ID: "id", Secret: mesh.NewSecret([32]byte{1}), Authority: token.Authority, Servers: token.Servers, Pin: token.Pin}
			if err := errors.Join(state.SaveCluster(st, c), st.Close()); err != nil {
				t.Fatal(err)
			}
		}
		_, err := entered(t, Config{Config: testConfig(t, dir), Token: tc.token})
		if err == nil || !strings.Contains(err.Error(), "has no key to sign with") || !strings.Contains(err.Error(), "remove "+mesh.NodeIdentityFile) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, mesh.AuthorityKeyFile)); err == nil {
			t.Errorf("%s: a mesh was founded", name)
		}
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

// A node that waits for the founder can be stopped, and has joined nothing.
func TestJoinIsInterrupted(t *testing.T) {
	dir, token := t.TempDir(), testToken()
	n := must(locate(Config{Config: testConfig(t, dir), Token: &token}))
	if err := n.take(); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.enter(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("enter = %v", err)
	}
	if c, err := state.LoadCluster(n.state); c != nil || err != nil {
		t.Errorf("cluster %v, %v", c, err)
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

// A stored token is used at the next start, and stays until the node has joined.
func TestStoredToken(t *testing.T) {
	dir := t.TempDir()
	token := testToken()
	c := Config{Config: testConfig(t, dir), Token: &token}
	if running, err := StoreToken(c); running || err != nil {
		t.Fatalf("StoreToken = %v, %v", running, err)
	}
	path := filepath.Join(dir, storedTokenFile)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the stored token: %v, %v", info, err)
	}
	member := must(state.Open(dir, nil))
	if _, err := state.JoinCluster(member, token, testMembership()); err != nil { // so that nobody has to be asked
		t.Fatal(err)
	}
	n, err := entered(t, Config{Config: c.Config})
	if err != nil || n.membership.present().Authority != token.Authority {
		t.Errorf("entered %+v: %v", n.membership.present(), err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the token is still there: %v", err)
	}
}

func TestStoredTokenRefused(t *testing.T) {
	token := testToken()
	store := func(c *config.Config) error {
		_, err := StoreToken(Config{Config: c, Token: &token})
		return err
	}
	if err := store(testConfig(t, t.TempDir(), testDocuments)); !errors.Is(err, ErrTwoClusters) {
		t.Errorf("beside a configured cluster: %v", err)
	}
	if err := store(testConfig(t, config.StateMemory)); err == nil || !strings.Contains(err.Error(), "in memory") {
		t.Errorf("in memory: %v", err)
	}
	founder := t.TempDir()
	if _, err := entered(t, Config{Config: testConfig(t, founder)}); err != nil {
		t.Fatal(err)
	}
	if err := store(testConfig(t, founder)); err == nil || !strings.Contains(err.Error(), "this node founded another cluster") {
		t.Errorf("on a founder: %v", err)
	}
	dir := t.TempDir()
	agent := must(state.Open(dir, nil))
	if err := agent.Lock(); err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	if running, err := StoreToken(Config{Config: testConfig(t, dir), Token: &token}); !running || err != nil {
		t.Errorf("beside an agent: StoreToken = %v, %v", running, err)
	}
	if err := os.WriteFile(filepath.Join(dir, storedTokenFile), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := storedToken(agent); err == nil || !strings.Contains(err.Error(), "wirespan join") {
		t.Errorf("a damaged token: %v", err)
	}
}

// The join token of a former mesh leads nowhere, or into a mesh that this node has left.
func TestFormerTokenIsForgotten(t *testing.T) {
	own := func(t *testing.T, dir string) mesh.Authority {
		t.Helper()
		n, err := entered(t, Config{Config: testConfig(t, dir)})
		if err != nil {
			t.Fatal(err)
		}
		return n.membership.present().Authority
	}
	for name, test := range map[string]struct {
		prepare func(t *testing.T, dir string) config.Token
		c       func(t *testing.T, dir string) *config.Config
		kept    bool
	}{
		"founder": {prepare: func(t *testing.T, dir string) config.Token {
			t.Helper()
			token := testToken()
			token.Authority = own(t, dir)
			return token
		}, kept: true},
		"founder of another mesh": {prepare: func(t *testing.T, dir string) config.Token {
			t.Helper()
			own(t, dir)
			return testToken()
		}},
		"member": {prepare: func(t *testing.T, dir string) config.Token {
			t.Helper()
			if _, err := state.JoinCluster(must(state.Open(dir, nil)), testToken(), testMembership()); err != nil {
				t.Fatal(err)
			}
			return testToken()
		}},
		"configured cluster": {prepare: func(*testing.T, string) config.Token { return testToken() }, c: func(t *testing.T, dir string) *config.Config {
			t.Helper()
			return testConfig(t, dir, testDocuments)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			token := test.prepare(t, dir)
			path := filepath.Join(dir, joinTokenFile)
			if err := os.WriteFile(path, []byte(must(token.Encode())+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			c := testConfig(t, dir)
			if test.c != nil {
				c = test.c(t, dir)
			}
			n := must(locate(Config{Config: c}))
			if err := errors.Join(n.take(), n.enter(t.Context())); err != nil {
				t.Fatal(err)
			}
			n.forgetFormerToken()
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); (err == nil) != test.kept {
				t.Errorf("the token: %v", err)
			}
		})
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

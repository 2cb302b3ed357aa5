package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
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

// foundedDir returns the state directory of a founder.
func foundedDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(state.FoundCluster(must(state.Open(dir, nil))))
	return dir
}

// Which cluster a node enters without anybody's help: one that the configuration names,
// or one of the state directory.
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
	if _, err := entered(t, Config{Config: testConfig(t, foundedDir(t)), Token: &token}); err == nil || !strings.Contains(err.Error(), "this node founded another cluster") {
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
	if err := store(testConfig(t, foundedDir(t))); err == nil || !strings.Contains(err.Error(), "this node founded another cluster") {
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
		return must(state.FoundCluster(must(state.Open(dir, nil)))).Authority
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

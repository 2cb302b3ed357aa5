//go:build !edge

package node

import (
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/server"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// memberKey returns the key of a member, by its name.
func memberKey(name string) mesh.NodeKey { return mesh.NewNodeKey(sha256.Sum256([]byte(name))) }

// nodeOfMember returns a node of an own mesh.
func nodeOfMember(name string) *Node {
	n := &Node{keys: state.Keys{NodeID: memberKey(name).NodeID(), NodeKey: memberKey(name)}}
	n.relaySecrets.node = n
	n.relaySecrets.set(&config.Config{})
	return n
}

// memberCredentials returns what a member presents to a relay, at a time.
func memberCredentials(t *testing.T, at *Node, name string, now time.Time) relay.Credentials {
	t.Helper()
	key := memberKey(name)
	shared := must(key.Shared(at.keys.NodeID))
	return bond(at.relaySecrets.keys(), shared)[0].Credentials(key.NodeID(), now)
}

// takes reports whether a relay takes credentials.
func takes(keys *memberKeys, have relay.Credentials) bool {
	user, id, err := relay.ParseUsername(have.Username, time.Now())
	return err == nil && slices.ContainsFunc(keys.of(user), func(k relay.Key) bool {
		return k.ID() == id && k.Password(have.Username) == have.Password
	})
}

// Who knows the mesh's secret and a member's id can't ask a relay in its name: neither another member
// nor one that was expelled, before the secret has changed, during that and thereafter.
func TestRelayCredentialsAreOwn(t *testing.T) {
	secret, next := mesh.NewSecret([mesh.KeySize]byte{1}), mesh.NewSecret([mesh.KeySize]byte{2})
	clusters := []*state.Cluster{{ID: "c", Secret: secret}, {ID: "c", Secret: secret, Next: next, NextNumber: 2}, {ID: "c", Secret: next}}
	n, member, thief := nodeOfMember("relay"), nodeOfMember("a"), nodeOfMember("thief")
	r := &relaying{secrets: &n.relaySecrets}
	r.service = mesh.RelayService{Members: []mesh.RelayMember{{NodeID: member.keys.NodeID, Name: "a"}}}
	r.members.Store(&map[string]server.Member{relay.User(member.keys.NodeID): {Name: "a"}})
	keys := &memberKeys{relaying: r, shared: map[string]mesh.Secret{}}
	at := mesh.Relay{NodeID: n.keys.NodeID}
	former := relay.Credentials{}
	for i, cluster := range clusters {
		for _, node := range []*Node{n, member, thief} {
			node.membership.enterCluster(cluster)
		}
		now := time.Now()
		have := member.relaySecrets.credentials(at, now)
		if !takes(keys, have) || i > 0 && !takes(keys, former) {
			t.Errorf("%d: the member is not taken", i)
		}
		former = have
		if takes(keys, thief.relaySecrets.credentials(at, now)) {
			t.Errorf("%d: who is no member is taken", i)
		}
		all := thief.relaySecrets.keys()
		withOwn := bond(all, must(thief.keys.NodeKey.Shared(n.keys.NodeID)))
		withMember := bond(all, must(thief.keys.NodeKey.Shared(member.keys.NodeID)))
		for _, key := range slices.Concat(all, withOwn, withMember) {
			if takes(keys, key.Credentials(member.keys.NodeID, now)) {
				t.Errorf("%d: another node is taken for the member", i)
			}
		}
	}
}

// What a relay remembers of members is bounded by their number, and those that come later are known.
func TestRelayForgetsMembers(t *testing.T) {
	n := nodeOfMember("relay")
	n.membership.enterCluster(&state.Cluster{ID: "c", Secret: mesh.NewSecret([mesh.KeySize]byte{1})})
	r := &relaying{secrets: &n.relaySecrets}
	keys := &memberKeys{relaying: r, shared: map[string]mesh.Secret{}}
	for _, name := range []string{"a", "b", "c"} {
		id := memberKey(name).NodeID()
		r.service = mesh.RelayService{Members: []mesh.RelayMember{{NodeID: id, Name: name}}}
		r.members.Store(&map[string]server.Member{relay.User(id): {Name: name}})
		if !takes(keys, memberCredentials(t, n, name, time.Now())) {
			t.Errorf("%s is not taken", name)
		}
		if len(keys.shared) != 1 {
			t.Errorf("%d are remembered", len(keys.shared))
		}
	}
	if len(keys.of(relay.User("nobody"))) != 0 {
		t.Error("nobody has keys")
	}
}

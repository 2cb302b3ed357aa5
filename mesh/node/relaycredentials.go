package node

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/access"
	"github.com/wirespan/wirespan/mesh/config"
)

// relaySecrets is by what this node knows members' relays, and others. It is for all goroutines.
type relaySecrets struct {
	node     *Node
	settings atomic.Pointer[config.Config] // as last loaded
}

// set takes a configuration.
func (s *relaySecrets) set(c *config.Config) { s.settings.Store(c) }

// keys returns those of the mesh: that of its secret, and that of the secret to which it changes.
func (s *relaySecrets) keys() []relay.Key {
	c := s.settings.Load()
	if !c.Standalone() {
		return []relay.Key{relay.NewKey(c.ClusterID, c.ClusterSecret)}
	}
	cluster := s.node.membership.present()
	if cluster == nil {
		return nil
	}
	keys := []relay.Key{relay.NewKey(cluster.ID, cluster.Secret)}
	if !cluster.Next.IsZero() {
		keys = append(keys, relay.NewKey(cluster.ID, cluster.Next))
	}
	return keys
}

// credentials returns what this node presents to a relay. Server is the time that the relay says
// it is; zero: it does not say. While the mesh changes its secret, members know the former one.
func (s *relaySecrets) credentials(r mesh.Relay, server time.Time) relay.Credentials {
	if r.NodeID == "" {
		return s.foreign()
	}
	keys := s.keys()
	if s.bonded() {
		shared, err := s.node.keys.NodeKey.Shared(r.NodeID)
		if err != nil {
			s.node.log.Warn("no credentials for a relay", "relay", r.Name, "error", err)
			return relay.Credentials{}
		}
		keys = bond(keys, shared)
	}
	if len(keys) == 0 {
		return relay.Credentials{}
	}
	return keys[0].Credentials(s.node.keys.NodeID, s.relayTime(server, time.Now()))
}

// bonded reports whether credentials of a member are made with what it shares with the relay, too:
// all nodes have a key of their own. Else who knows the secret can make those of any member.
func (s *relaySecrets) bonded() bool { return s.settings.Load().Standalone() }

// bond returns the keys between two nodes, by what they share.
func bond(keys []relay.Key, shared mesh.Secret) []relay.Key {
	salt, list := shared.Reveal(), make([]relay.Key, len(keys))
	for i, k := range keys {
		secret := k.Secret.Reveal()
		key, err := hkdf.Key(sha256.New, secret[:], salt[:], "wirespan relay of two nodes", mesh.KeySize)
		if err != nil { // only for more bytes than HKDF has
			panic(err)
		}
		list[i] = relay.Key{Secret: mesh.NewSecret([mesh.KeySize]byte(key))}
	}
	return list
}

// relayTime returns by which time credentials are made. A relay's own clock decides, also when
// this node's has started in 1970. Nothing authenticates what it says: whoever changes that on the
// way gets a request of this node for another hour, which is of no use but to ask for an address
// in this node's name then. No relay runs before this program was built.
func (s *relaySecrets) relayTime(server, now time.Time) time.Time {
	built := s.node.cfg.Built
	switch {
	case !server.IsZero() && !server.Before(built):
		return server
	case now.Before(built):
		return built
	}
	return now
}

// CheckRelayPassword reads the password for other TURN servers, if there is to be one.
func CheckRelayPassword(c *config.Config) error {
	if _, err := access.ReadPassword(c.RelayPasswordFile); err != nil {
		return fmt.Errorf("relayPasswordFile: %w", err)
	}
	return nil
}

// foreign returns the credentials for servers that are no members.
func (s *relaySecrets) foreign() relay.Credentials {
	c := s.settings.Load()
	password, err := access.ReadPassword(c.RelayPasswordFile)
	if err != nil {
		s.node.log.Warn("relayPasswordFile", "error", err)
	}
	return relay.Credentials{Username: c.RelayUser, Password: relay.NewPassword(password)}
}

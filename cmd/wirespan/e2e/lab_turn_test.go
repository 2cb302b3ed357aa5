package e2e

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"time"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
)

// turnClient asks a relay for whatever a test wants, by UDP or TCP.
type turnClient struct {
	*labHost
	conn net.Conn
	have relay.Credentials
	auth turn.Auth
}

// turns returns a client on the host.
func (h *labHost) turns(network, server string, have relay.Credentials) *turnClient {
	h.Helper()
	conn, err := h.dial(h.Context(), network, server)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = conn.Close() })
	return &turnClient{labHost: h, conn: conn, have: have}
}

// relayKeys returns the key that all members of the node's mesh know, and the one that the node and a
// relay of the mesh derive from it.
func (n *labNode) relayKeys(server *labNode) (all, own relay.Key) {
	n.Helper()
	data, err := os.ReadFile(n.path("cluster.yaml"))
	if err != nil {
		n.Fatal(err)
	}
	id := regexp.MustCompile(`clusterID: (\S+)`).FindStringSubmatch(string(data))
	secret, err := base64.StdEncoding.DecodeString(n.clusterSecret())
	if id == nil || err != nil || len(secret) != mesh.KeySize {
		n.Fatalf("cluster.yaml has no cluster: %v", err)
	}
	all = relay.NewKey(id[1], mesh.NewSecret([mesh.KeySize]byte(secret)))
	data, err = os.ReadFile(n.path(mesh.NodeKeyFile))
	if err != nil {
		n.Fatal(err)
	}
	node, err := mesh.ParseNodeKey(data)
	if err != nil {
		n.Fatal(err)
	}
	shared, err := node.Shared(server.mustStatus().Node.ID)
	if err != nil {
		n.Fatal(err)
	}
	of, salt := all.Secret.Reveal(), shared.Reveal()
	between, err := hkdf.Key(sha256.New, of[:], salt[:], "wirespan relay of two nodes", mesh.KeySize)
	if err != nil {
		n.Fatal(err)
	}
	return all, relay.Key{Secret: mesh.NewSecret([mesh.KeySize]byte(between))}
}

// errNoAnswer is that of a request that was sent several times.
var errNoAnswer = errors.New("the relay does not answer")

// ask sends a request until it is answered. It takes up what the relay asks for.
func (c *turnClient) ask(method int, fill func(*turn.Builder)) (answer turn.Message, err error) {
	for range 3 {
		answer, err = c.askOnce(method, fill)
		if err != nil || answer.Class != turn.Failure || answer.Nonce == nil || string(answer.Nonce) == string(c.auth.Nonce) {
			break
		}
		realm := answer.Realm
		if realm == nil {
			realm = c.auth.Realm
		}
		c.auth = turn.Auth{
			Username: c.have.Username, Realm: realm, Nonce: answer.Nonce, Key: turn.Key(c.have.Username, string(realm), c.have.Password.Reveal()),
		}
	}
	return answer, err
}

func (c *turnClient) askOnce(method int, fill func(*turn.Builder)) (answer turn.Message, err error) {
	id := random32()
	m := turn.Begin(nil, method, turn.Request, turn.ID(id[:12]))
	fill(&m)
	m.Padding(96) // small requests are answered at a bounded rate
	m.Sign(c.auth)
	for range 3 {
		if _, err := c.conn.Write(m.Finish()); err != nil {
			return answer, fmt.Errorf("request: %w", err)
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		for {
			b := make([]byte, turn.MaxMessage)
			n, err := c.conn.Read(b)
			if err != nil {
				break
			}
			if turn.Is(b[:n]) && turn.Parse(&answer, b[:n]) == nil && answer.ID == turn.ID(id[:12]) {
				return answer, nil
			}
		}
	}
	return answer, errNoAnswer
}

// allocates asks for an address of a family.
func (c *turnClient) allocates(family byte) (turn.Message, error) {
	return c.ask(turn.Allocate, func(m *turn.Builder) {
		m.Transport()
		m.Family(family)
	})
}

// allocated returns the address that the relay gives, as it must.
func (c *turnClient) allocated(family byte) netip.AddrPort {
	c.Helper()
	answer, err := c.allocates(family)
	if err != nil || answer.Class != turn.Success {
		c.Fatalf("no address: %+v, %v", answer, err)
	}
	return answer.Relayed
}

// permits asks for a permission for a peer.
func (c *turnClient) permits(to netip.AddrPort) (turn.Message, error) {
	return c.ask(turn.CreatePermission, func(m *turn.Builder) { m.Peer(to) })
}

// binds asks for a channel to a peer.
func (c *turnClient) binds(channel uint16, to netip.AddrPort) (turn.Message, error) {
	return c.ask(turn.ChannelBind, func(m *turn.Builder) {
		m.Channel(channel)
		m.Peer(to)
	})
}

// sends sends data to a peer, by an indication and by a channel.
func (c *turnClient) sends(data string, channel uint16, to netip.AddrPort) {
	id := random32()
	m := turn.Begin(nil, turn.Send, turn.Indication, turn.ID(id[:12]))
	m.Peer(to)
	m.Data([]byte(data))
	_, _ = c.conn.Write(m.Finish())
	_, _ = c.conn.Write(turn.AppendChannel(nil, channel, []byte(data), false))
}

package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

const (
	snapshotFile = "discovery.snapshot"
	// joinTokenFile is the file in the state directory in which a founder stores its
	// join token.
	joinTokenFile = "join-token"
)

// embeddedServer is the discovery server of a founder. It serves only its own cluster,
// with a self-signed certificate that the join token pins.
type embeddedServer struct {
	server   *server.Server
	listener net.Listener
	pin      [32]byte
}

// listen creates the embedded server and opens its port.
func (n *Node) listen(ctx context.Context) error {
	cert, pin, err := n.certificate()
	if err != nil {
		return err
	}
	cfg := server.Config{
		OnlyCluster: n.cluster.ID,
		TLS:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		Log:         n.log.Named("server"),
	}
	if n.state.Root() != config.StateMemory {
		cfg.SnapshotPath = n.state.Path(snapshotFile)
	}
	srv, err := server.New(cfg)
	if err != nil {
		return err
	}
	lc := net.ListenConfig{Control: bind.Control(n.config.Firewall.EncryptedMark)}
	l, err := lc.Listen(ctx, "tcp", n.config.DiscoveryListen)
	if err != nil {
		return fmt.Errorf("embedded discovery server: %w (choose another address with --discovery-listen)", err)
	}
	n.server = &embeddedServer{srv, l, pin}
	return nil
}

// certificate returns the server's certificate and its pin.
func (n *Node) certificate() (tls.Certificate, [32]byte, error) {
	if n.state.Root() == config.StateMemory {
		return server.MemoryCertificate(time.Now())
	}
	return server.Certificate(n.state.Root(), time.Now(), n.log.Named("server"))
}

// service returns how this node itself connects to its server.
func (e *embeddedServer) service() service {
	addr := e.listener.Addr().(*net.TCPAddr).AddrPort()
	ip := addr.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // Go's wildcard listeners take both families
	}
	return service{Endpoints: []string{netip.AddrPortFrom(ip, addr.Port()).String()}, Pin: e.pin}
}

// observed updates a founder's join token, which must name current addresses. The agent
// calls it whenever it has read the host's links.
func (n *Node) observed(links []mesh.Link) {
	if n.server != nil {
		n.offer(links)
	}
}

// advertise stores the addresses and the pin of this node's server in the state
// directory. Join tokens contain both.
func (n *Node) advertise(links []mesh.Link) error {
	servers := serverAddresses(n.config, links, n.server.listener.Addr().(*net.TCPAddr).AddrPort())
	if slices.Equal(servers, n.cluster.Servers) && n.server.pin == n.cluster.Pin {
		return nil
	}
	if n.cluster.Pin != [32]byte{} && n.cluster.Pin != n.server.pin {
		n.log.Warn("the discovery server has a new key: nodes that joined with the old one must join again, with a new token")
	}
	n.cluster.Servers, n.cluster.Pin = servers, n.server.pin
	return state.SaveCluster(n.state, n.cluster)
}

// token returns the join token of the cluster.
func (n *Node) token() (string, error) {
	if len(n.cluster.Servers) == 0 {
		return "", errors.New("no address of the discovery server is known that other hosts could reach: start the agent, name one with --advertise-discovery, or let --address-filters admit an address of this host")
	}
	t := config.Token{ClusterID: n.cluster.ID, Secret: n.cluster.Secret, Servers: n.cluster.Servers, Pin: n.cluster.Pin}
	return t.Encode()
}

// serverAddresses returns the addresses for a join token. Configured ones come first;
// then follows the listener's address or, if that is a wildcard, every address that this
// host announces to peers.
func serverAddresses(c *config.Config, links []mesh.Link, listen netip.AddrPort) []string {
	var out []string
	port := strconv.Itoa(int(listen.Port()))
	add := func(host, port string) {
		if hp := net.JoinHostPort(host, port); !slices.Contains(out, hp) && len(out) < config.MaxTokenServers {
			out = append(out, hp)
		}
	}
	for _, a := range c.AdvertiseDiscovery {
		if h, p, err := net.SplitHostPort(a); err == nil {
			add(h, p)
		} else {
			add(a, port)
		}
	}
	if ip := listen.Addr().Unmap(); !ip.IsUnspecified() {
		add(ip.String(), port)
		return out
	}
	for _, addr := range mesh.HostAddresses(links, c.AddressFilters) {
		add(addr.String(), port)
	}
	return out
}

// offer shows the join token if it has changed. If it cannot be shown, offer writes it to
// a file that only this user may read.
func (n *Node) offer(links []mesh.Link) {
	err := n.advertise(links)
	var text string
	if err == nil {
		text, err = n.token()
	}
	if err != nil {
		n.log.Debug("no join token is available", "error", err)
		return
	}
	if text == n.offered {
		return
	}
	n.offered = text
	if n.cfg.ShowToken != nil && n.cfg.ShowToken(text) {
		return
	}
	if n.state.Root() == config.StateMemory {
		n.log.Warn("the join token is not shown: standard output is not a terminal, and with the state in memory there is no file for it")
		return
	}
	if err := n.state.Replace(joinTokenFile, []byte(text+"\n")); err != nil {
		n.log.Warn("writing the join token", "error", err)
		return
	}
	n.log.Info("to add another box to this mesh, run wirespan up --join @FILE there, with this file", "file", n.state.Path(joinTokenFile))
}

// Token returns the join token of the cluster that this node has founded or joined. An
// agent may be running.
func Token(c Config) (string, error) {
	if known, err := Known(c.Config); err != nil {
		return "", err
	} else if !known {
		return "", errNoCluster
	}
	n, err := locate(c)
	if err != nil {
		return "", err
	}
	if err := n.enter(false); err != nil {
		return "", err
	}
	if n.cluster == nil {
		return "", errNoCluster
	}
	return n.token()
}

var errNoCluster = errors.New("this node has neither founded nor joined a cluster by wirespan up (a cluster that is configured in files is joined by the same files)")

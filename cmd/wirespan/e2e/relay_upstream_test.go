package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	serverpb "github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// scenarioRelayUpstream checks that a node without UDP and peers that know nothing of relays reach
// each other, in a cluster that has documents and no founder: upstream's program, which is told
// the relayed address, and one that takes it from discovery as Talos does, from behind a NAT.
func scenarioRelayUpstream(l *lab) {
	l.isPublic()
	s := l.host("s").discovery()
	s.start()
	id, secret := "relayed", random32()
	documents := string(config.EncodeCluster(id, mesh.NewSecret(secret), []config.Service{{Name: "s", Endpoint: s.address + ":3000", Insecure: true}}))
	q, a := l.host("q").node(documents+"---\n"+settings("relay: offer")), l.relayed("a", natUDPBlocked)
	a.configure(documents)
	plain := l.host("b").plainPeer(2, id, secret)
	talos := l.behindNAT("tl", l.host("rt"), natPortRestricted).plainPeer(3, id, secret)
	for _, p := range []*plainPeer{plain, talos} {
		p.runUpstream()
		p.publish(s, netip.AddrPortFrom(netip.MustParseAddr(p.address), 51820))
	}
	q.up()
	a.up()
	var relayed netip.AddrPort
	took := eventually(l.T, relayTime, func() (err error) {
		relayed, err = a.relayedAt("q")
		return err
	})
	l.Logf("relayed at %v after %v", relayed, took.Round(time.Millisecond))
	a.serveFlows()

	plain.setUp(a, relayed)
	for range 2 {
		plain.talks(a)
		if err := a.goesVia(plain.name, "q"); err != nil {
			l.Error(err)
		}
		plain.proc.end(l.T, syscall.SIGKILL)
		plain.runUpstream()
		plain.setUp(a, relayed)
	}
	a.reaches(plain.mesh) // it begins, and the peer has lost the session
	a.pingsWhole(plain.mesh)

	talos.setUp(a, netip.AddrPort{})
	at := talos.finds(s, a)
	if at != relayed {
		l.Errorf("the peer behind a NAT reaches a at %v, want %v", at, relayed)
	}
	talos.talks(a)
	if err := a.goesVia(talos.name, "q"); err != nil {
		l.Error(err)
	}
	if usage := q.mustStatus().Relaying; len(usage.Members) != 1 || usage.Members[0].Member != "a" || usage.Members[0].Refused != 0 {
		l.Errorf("q relays %+v", usage)
	}
}

// relayedAt returns the address at which a relay takes packets for the node, once it has it.
func (n *labNode) relayedAt(relay string) (netip.AddrPort, error) {
	s, err := n.status()
	if err != nil {
		return netip.AddrPort{}, errors.Join(err, n.proc.running())
	}
	for _, r := range s.Relays {
		if r.Relay == relay && r.Relayed.IsValid() {
			return r.Relayed, nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%s has no address at %s: %+v", n.name, relay, s.Relays)
}

// goesVia returns an error unless the node reaches a peer by a relay.
func (n *labNode) goesVia(peer, relay string) error {
	view, err := n.peer(peer)
	if err == nil && (view.State != mesh.PeerStateUp || view.Relay != relay) {
		err = fmt.Errorf("%s has %s %s at %v by the relay %q, want %q", n.name, peer, view.State, view.Endpoint, view.Relay, relay)
	}
	return err
}

// plainPeer is upstream's program, set up with wg(8). Discovery has an affiliate of it with Talos'
// fields alone, which nobody has signed.
type plainPeer struct {
	*tunnelEnd
	cluster string
	secret  [32]byte
	mesh    netip.Addr // its address in the mesh
}

// plainPeer prepares a peer on the host. Peers of a cluster have different numbers.
func (h *labHost) plainPeer(number int, cluster string, secret [32]byte) *plainPeer {
	h.Helper()
	address, err := mesh.NodeAddress(mesh.ULA(cluster), []byte{2, 0, 0, 0, 0, byte(number)})
	if err != nil {
		h.Fatal(err)
	}
	return &plainPeer{h.tunnelEnd(number), cluster, secret, address}
}

// discoveryClient returns a client of Sidero's discovery service.
func (p *plainPeer) discoveryClient(s *labDiscovery) serverpb.ClusterClient {
	p.Helper()
	dial := func(ctx context.Context, address string) (net.Conn, error) { return p.dial(ctx, "tcp", address) }
	conn, err := grpc.NewClient("passthrough:///"+s.address+":3000",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = conn.Close() })
	return serverpb.NewClusterClient(conn)
}

// publish puts the peer into discovery, with an endpoint.
func (p *plainPeer) publish(s *labDiscovery, at netip.AddrPort) {
	p.Helper()
	key, err := mesh.ParseKey(p.public)
	if err != nil {
		p.Fatal(err)
	}
	affiliate := mesh.Affiliate{NodeID: mesh.NodeIDFromBytes(key), Nodename: p.name, MachineType: mesh.MachineWorker, PublicKey: key, Address: p.mesh}
	nonce, secret := random32(), mesh.NewSecret(p.secret)
	data, _, err := codec.SealAffiliate(codec.Cluster{ID: p.cluster, Secret: secret}, mesh.NodeKey{}, affiliate, [codec.NonceSize]byte(nonce[:]))
	endpoint, err2 := codec.SealEndpoint(secret, at)
	if err == nil {
		_, err = p.discoveryClient(s).AffiliateUpdate(p.Context(), &serverpb.AffiliateUpdateRequest{
			ClusterId: p.cluster, AffiliateId: affiliate.NodeID, AffiliateData: data, AffiliateEndpoints: [][]byte{endpoint}, Ttl: durationpb.New(10 * time.Minute),
		})
	}
	if err := errors.Join(err, err2); err != nil {
		p.Fatal(err)
	}
}

// setUp configures the interface for a node as its only peer; at an endpoint, if that is known.
func (p *plainPeer) setUp(n *labNode, at netip.AddrPort) {
	p.Helper()
	own := n.mustStatus().Node
	text := fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51820\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s/128\n",
		p.key, own.PublicKey, base64.StdEncoding.EncodeToString(p.secret[:]), own.Address)
	if at.IsValid() {
		text += "Endpoint = " + at.String() + "\n"
	}
	path := filepath.Join(p.dir, p.link+".conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
	p.mustExec("wg", "setconf", p.link, path)
	p.ip(fmt.Sprintf("address replace %s/64 dev %s nodad", p.mesh, p.link))
	p.ip("link set " + p.link + " up")
}

// finds tries the endpoints of a node as Talos finds them, one after another, until one answers.
func (p *plainPeer) finds(s *labDiscovery, n *labNode) (at netip.AddrPort) {
	p.Helper()
	client, own := p.discoveryClient(s), n.mustStatus().Node
	eventually(p.T, relayTime, func() error {
		list, err := p.endpoints(client, own.ID)
		if err != nil {
			return err
		}
		for _, at = range list {
			p.mustExec("wg", "set", p.link, "peer", own.PublicKey.String(), "endpoint", at.String())
			if err := p.ping(own.Address, "-w", "2"); err == nil {
				return nil
			}
		}
		return fmt.Errorf("none of the endpoints %v answers", list)
	})
	return at
}

// endpoints returns those of an affiliate that Talos reads.
func (p *plainPeer) endpoints(client serverpb.ClusterClient, id string) (list []netip.AddrPort, err error) {
	answer, err := client.List(p.Context(), &serverpb.ListRequest{ClusterId: p.cluster})
	if err != nil {
		return nil, err
	}
	for _, a := range answer.GetAffiliates() {
		if a.GetId() != id {
			continue
		}
		for _, sealed := range a.GetEndpoints() {
			at, err := codec.OpenEndpoint(mesh.NewSecret(p.secret), sealed)
			if err != nil {
				return nil, err
			}
			list = append(list, at)
		}
	}
	return list, nil
}

// talks checks that the peer and a node reach each other, with packets as large as the tunnel's.
func (p *plainPeer) talks(n *labNode) {
	p.Helper()
	to := n.mustStatus().Node.Address
	p.reaches(to)
	p.pingsWhole(to)
	n.pingsWhole(p.mesh)
	p.stream(netip.AddrPortFrom(to, flowPort).String(), p.proc, n.proc)
}

// pingsWhole sends pings of 1,420 bytes, which may not be fragmented inside of the tunnel, and
// checks that each is answered.
func (h *labHost) pingsWhole(to netip.Addr) {
	h.Helper()
	out, err := h.exec("ping", "-6", "-n", "-q", "-M", "do", "-s", "1372", "-c", "100", "-i", "0.01", "-W", "5", to.String())
	if err != nil || !strings.Contains(out, " 100 received") {
		h.Errorf("%v: %s", err, out)
	}
}

package service

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

var (
	secret      = mesh.NewSecret([32]byte{1, 31: 2})
	otherSecret = mesh.NewSecret([32]byte{3})
)

const clusterID = "cluster-id-that-must-not-be-logged"

// network is a set of scripted servers in memory, by address.
type network struct {
	mu      sync.Mutex
	servers map[string]*fake
	dials   []string
}

func (n *network) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dials = append(n.dials, addr)
	f := n.servers[addr]
	n.mu.Unlock()
	if f == nil {
		return nil, errors.New("connection refused")
	}
	return f.listener.DialContext(ctx)
}

func (n *network) dialed() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dials)
}

// fake is a server whose state and events the test sets.
type fake struct {
	pb.UnimplementedClusterServer
	listener *bufconn.Listener
	server   *grpc.Server

	stall    chan struct{} // Hello waits until it is closed
	mu       sync.Mutex
	redirect string
	refuse   map[string]error         // updates, by affiliate id
	state    map[string]*pb.Affiliate // what snapshots and List show
	watches  []chan *pb.WatchResponse
	hellos   int
	lists    int
	deletes  []string
	updates  []*pb.AffiliateUpdateRequest
}

func (n *network) start(addr string, affiliates ...*pb.Affiliate) *fake {
	f := &fake{
		listener: bufconn.Listen(1 << 16),
		server:   grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second})),
		state:    map[string]*pb.Affiliate{},
		refuse:   map[string]error{},
	}
	for _, a := range affiliates {
		f.state[a.Id] = a
	}
	pb.RegisterClusterServer(f.server, f)
	go func() { _ = f.server.Serve(f.listener) }()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.servers == nil {
		n.servers = map[string]*fake{}
	}
	n.servers[addr] = f
	return f
}

func (n *network) stop(addr string) {
	n.mu.Lock()
	f := n.servers[addr]
	delete(n.servers, addr)
	n.mu.Unlock()
	f.server.Stop()
}

func (f *fake) Hello(context.Context, *pb.HelloRequest) (*pb.HelloResponse, error) {
	if f.stall != nil {
		<-f.stall
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hellos++
	if f.redirect != "" {
		return &pb.HelloResponse{Redirect: &pb.RedirectMessage{Endpoint: f.redirect}}, nil
	}
	return &pb.HelloResponse{ClientIp: []byte{198, 51, 100, 7}}, nil
}

func (f *fake) AffiliateUpdate(_ context.Context, r *pb.AffiliateUpdateRequest) (*pb.AffiliateUpdateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.updates = append(f.updates, r)
	return &pb.AffiliateUpdateResponse{}, f.refuse[r.AffiliateId]
}

func (f *fake) AffiliateDelete(_ context.Context, r *pb.AffiliateDeleteRequest) (*pb.AffiliateDeleteResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deletes = append(f.deletes, r.AffiliateId)
	return &pb.AffiliateDeleteResponse{}, nil
}

func (f *fake) all() (list []*pb.Affiliate) {
	for _, a := range f.state {
		list = append(list, a)
	}
	return list
}

func (f *fake) List(context.Context, *pb.ListRequest) (*pb.ListResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	return &pb.ListResponse{Affiliates: f.all()}, nil
}

func (f *fake) Watch(_ *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	events := make(chan *pb.WatchResponse, 2048)
	f.mu.Lock()
	f.watches = append(f.watches, events)
	first := &pb.WatchResponse{Affiliates: f.all()}
	f.mu.Unlock()
	if err := stream.Send(first); err != nil {
		return err
	}
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case m, ok := <-events:
			if !ok {
				return nil
			}
			if err := stream.Send(m); err != nil {
				return err
			}
		}
	}
}

// put stores an affiliate and sends an event. announceDeleted only sends the event; remove
// deletes and sends it.
func (f *fake) put(a *pb.Affiliate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state[a.Id] = a
	f.send(&pb.WatchResponse{Affiliates: []*pb.Affiliate{a}})
}

func (f *fake) announceDeleted(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.send(&pb.WatchResponse{Affiliates: []*pb.Affiliate{{Id: id}}, Deleted: true})
}

func (f *fake) remove(id string) {
	f.mu.Lock()
	delete(f.state, id)
	f.mu.Unlock()
	f.announceDeleted(id)
}

func (f *fake) send(m *pb.WatchResponse) {
	for _, w := range f.watches {
		w <- m
	}
}

// endWatches ends the streams without an error, as a server does when it shuts down.
func (f *fake) endWatches() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.watches {
		close(w)
	}
	f.watches = nil
}

// takeUpdates returns the updates since the last call.
func (f *fake) takeUpdates() []*pb.AffiliateUpdateRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.updates
	f.updates = nil
	return u
}

func (f *fake) counts() (hellos, lists int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hellos, f.lists
}

func sealed(t testing.TB, key mesh.Secret, id, hostname string) *pb.Affiliate {
	t.Helper()
	var nonce [codec.NonceSize]byte
	_, _ = rand.Read(nonce[:])
	data, _, err := codec.SealAffiliate(codec.Cluster{Secret: key}, mesh.NodeKey{}, mesh.Affiliate{NodeID: id, Hostname: hostname, PublicKey: mesh.Key{1}, Address: netip.MustParseAddr("fd00::1")}, nonce)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := codec.SealEndpoint(key, netip.MustParseAddrPort("192.0.2.1:51820"))
	if err != nil {
		t.Fatal(err)
	}
	return &pb.Affiliate{Id: id, Data: data, Endpoints: [][]byte{endpoint}}
}

// raw returns what the client decodes from the affiliates of a server.
func raw(list ...*pb.Affiliate) []discovery.RawAffiliate {
	var out []discovery.RawAffiliate
	for _, a := range list {
		out = append(out, discovery.RawAffiliate{ID: a.Id, Data: a.Data, Endpoints: a.Endpoints})
	}
	return out
}

func config(endpoints ...string) Config {
	return Config{Name: "test", Endpoints: endpoints, Insecure: true, ClusterID: clusterID, AffiliateID: "self", Secret: secret, ClientVersion: "v1.2.3"}
}

// bubble runs body in virtual time, and then stops what body started.
func bubble(t *testing.T, body func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		t.Cleanup(func() {
			for addr := range n.servers {
				n.stop(addr)
			}
		})
		body(t, n)
	})
}

// run starts a client on n; it stops before the servers do.
func run(t *testing.T, n *network, c Config) *Client {
	t.Helper()
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	client.dial = n.dial
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if s := client.Snapshot(); s.Connected {
			t.Error("connected after Run has returned")
		}
	})
	return client
}

// ids returns the node ids in the client's snapshot when all goroutines are idle.
func ids(c *Client) []string {
	synctest.Wait()
	var out []string
	for _, a := range c.Snapshot().Affiliates {
		out = append(out, a.NodeID)
	}
	return out
}

func wantIDs(t *testing.T, c *Client, want ...string) {
	t.Helper()
	if got := ids(c); !slices.Equal(got, want) {
		t.Fatalf("affiliates %q, want %q", got, want)
	}
}

func changed(c *Client) bool {
	synctest.Wait()
	select {
	case <-c.Changed():
		return true
	default:
		return false
	}
}

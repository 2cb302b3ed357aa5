package e2e

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// crowdSize is the number of members of the cluster, none of which answers.
const crowdSize = 1000

// crowdMegabytes is the memory that an agent may use for them: 27 KB per peer for the
// device's queues and goroutines, 3.5 KB for what is known of its paths, 14 MB for the
// program's text, and the rest for everything else and garbage.
const crowdMegabytes = 76

// scenarioCrowd checks the memory of an agent with 1,000 peers, all of them down.
func scenarioCrowd(l *lab) {
	id, secret := "crowd", mesh.NewSecret(random32())
	members := crowd(l, id, secret)
	s := l.host("s")
	s.serveCrowd(members)
	documents := string(config.EncodeCluster(id, secret, []config.Service{{Name: "crowd", Endpoint: s.address + ":3000", Insecure: true}}))
	nodes := []*labNode{l.host("a").node(documents), l.host("b").node(documents).unprivileged()}
	for _, n := range nodes {
		n.up()
	}
	for _, n := range nodes {
		eventually(l.T, 30*time.Second, func() error {
			s, err := n.status()
			if err == nil && len(s.Peers) < crowdSize {
				err = fmt.Errorf("%s has %d peers", n.name, len(s.Peers))
			}
			return err
		})
	}
	idle := 5 * time.Second
	if longWaits {
		idle = time.Minute
	}
	<-time.After(idle)
	for _, n := range nodes {
		now := n.settlesBelow(crowdMegabytes)
		most := n.proc.memory(l.T, "VmHWM")
		l.Logf("%s with %d peers: %d KiB after %s, %d KiB at most", n.mustStatus().Backend, crowdSize, now, idle, most)
		if now > crowdMegabytes*1000*1000/1024 {
			l.Errorf("%s uses %d KiB", n.name, now)
			if smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", n.proc.cmd.Process.Pid)); err == nil {
				l.Logf("%s", smaps)
			}
		}
	}
}

// settlesBelow returns the agent's memory in KiB, if possible once it is below a limit.
func (n *labNode) settlesBelow(megabytes int) int {
	n.Helper()
	now := n.settled()
	for range 8 { // on a busy machine the garbage of joining is collected later
		if now <= megabytes*1000*1000/1024 {
			break
		}
		now = n.settled()
	}
	return now
}

// settled returns the median of the agent's memory over some seconds, in KiB: a pass
// over a thousand peers leaves garbage for a moment.
func (n *labNode) settled() int {
	n.Helper()
	var samples []int
	for range 15 {
		samples = append(samples, n.proc.resident(n.T))
		<-time.After(200 * time.Millisecond)
	}
	slices.Sort(samples)
	return samples[len(samples)/2]
}

// crowd returns members as agents would publish them.
func crowd(l *lab, cluster string, secret mesh.Secret) (members []server.Affiliate) {
	l.Helper()
	for i := range crowdSize {
		key := mesh.NewPrivateKey(random32()).Public()
		name := fmt.Sprintf("node-%04d", i)
		mac := binary.BigEndian.AppendUint32([]byte{2, 0}, uint32(i))
		address, err := mesh.NodeAddress(mesh.ULA(cluster), mac)
		if err != nil {
			l.Fatal(err)
		}
		own := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		a := mesh.Affiliate{
			NodeID: mesh.NodeIDFromBytes(key), Nodename: name, Hostname: name, MachineType: mesh.MachineWorker,
			OperatingSystem: "Linux", PublicKey: key, Address: address, Addresses: []netip.Addr{own, address},
		}
		sealed := server.Affiliate{ID: a.NodeID}
		if sealed.Data, _, err = codec.SealAffiliate(codec.Cluster{ID: cluster, Secret: secret}, mesh.NodeKey{}, a, [codec.NonceSize]byte(key[:])); err != nil {
			l.Fatal(err)
		}
		for port := range uint16(2) {
			endpoint, err := codec.SealEndpoint(secret, netip.AddrPortFrom(own, 51820+port))
			if err != nil {
				l.Fatal(err)
			}
			sealed.Endpoints = append(sealed.Endpoints, endpoint)
		}
		members = append(members, sealed)
	}
	return members
}

// crowdStore is the store of a discovery server with fixed content.
type crowdStore []server.Affiliate

func (crowdStore) Update(context.Context, server.Update, time.Time) error { return nil }
func (crowdStore) Delete(context.Context, string, string) error           { return nil }
func (s crowdStore) List(context.Context, string) ([]server.Affiliate, error) {
	return s, nil
}

func (s crowdStore) Watch(context.Context, string, netip.Addr) (server.Subscription, error) {
	return server.Subscription{Affiliates: s, Close: func() {}}, nil
}

// serveCrowd runs a discovery server on the host.
func (h *labHost) serveCrowd(members []server.Affiliate) {
	h.Helper()
	var listener net.Listener
	err := h.inside(func() (err error) {
		listener, err = net.Listen("tcp", h.address+":3000")
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	service, err := server.New(server.Config{Store: crowdStore(members)})
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Serve(ctx, listener) }()
	h.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			h.Error(err)
		}
	})
}

// random32 returns random bytes.
func random32() (b [32]byte) {
	_, _ = rand.Read(b[:])
	return b
}

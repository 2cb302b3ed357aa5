package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

func endpoint(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func local(hostname string, endpoints ...string) discovery.Local {
	l := discovery.Local{Affiliate: mesh.Affiliate{NodeID: "self", Hostname: hostname, MachineType: mesh.MachineUnknown, PublicKey: mesh.Key{9}, Address: netip.MustParseAddr("fd00::9")}}
	for _, e := range endpoints {
		l.Affiliate.Endpoints = append(l.Affiliate.Endpoints, endpoint(e))
	}
	return l
}

// show renders updates as "id [data:HOSTNAME] ENDPOINT…".
func show(t *testing.T, updates []*pb.AffiliateUpdateRequest) []string {
	t.Helper()
	var out []string
	for _, u := range updates {
		s := u.AffiliateId
		if u.AffiliateData != nil {
			a, dropped, err := codec.OpenAffiliate(codec.Cluster{Secret: secret}, u.AffiliateData, discovery.Known{})
			if err != nil || dropped != nil {
				t.Fatalf("published data: dropped %q, error %v", dropped, err)
			}
			s += " data:" + a.Hostname
		}
		for _, e := range u.AffiliateEndpoints {
			ap, err := codec.OpenEndpoint(secret, e)
			if err != nil {
				t.Fatalf("published endpoint: %v", err)
			}
			s += " " + ap.String()
		}
		if u.ClusterId != clusterID || u.Ttl.AsDuration() != discovery.MaxTTL {
			t.Errorf("update %v", u)
		}
		out = append(out, s)
	}
	return out
}

func wantUpdates(t *testing.T, f *fake, want ...string) []*pb.AffiliateUpdateRequest {
	t.Helper()
	synctest.Wait()
	updates := f.takeUpdates()
	if got := show(t, updates); !slices.Equal(got, want) {
		t.Fatalf("updates %q\nwant    %q", got, want)
	}
	return updates
}

func TestPublishOnlyChanges(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		f := n.start("a:1")
		c := run(t, n, config("a:1"))
		time.Sleep(time.Hour)
		wantUpdates(t, f) // nothing before Publish
		if c.Snapshot().Published {
			t.Error("the snapshot reports data as published before the first Publish")
		}

		c.Publish(local("h", "192.0.2.1:1"))
		first := wantUpdates(t, f, "self data:h 192.0.2.1:1")
		if !c.Snapshot().Published {
			t.Error("not published")
		}
		c.Publish(local("h", "192.0.2.1:1"))
		wantUpdates(t, f)
		c.Publish(local("h", "192.0.2.1:1", "192.0.2.2:1"))
		wantUpdates(t, f, "self 192.0.2.1:1 192.0.2.2:1")
		c.Publish(local("h", "192.0.2.2:1"))
		wantUpdates(t, f) // nothing can be taken back
		l := local("h2", "192.0.2.2:1")
		c.Publish(l)
		second := wantUpdates(t, f, "self data:h2 192.0.2.2:1")
		if string(first[0].AffiliateData[:codec.NonceSize]) == string(second[0].AffiliateData[:codec.NonceSize]) {
			t.Error("a nonce was used twice")
		}

		l.Others = []mesh.Endpoint{
			{AffiliateID: "p2", Endpoint: endpoint("192.0.2.20:1")},
			{AffiliateID: "p1", Endpoint: endpoint("192.0.2.10:1")},
			{AffiliateID: "self", Endpoint: endpoint("192.0.2.30:1")},
			{AffiliateID: "", Endpoint: endpoint("192.0.2.40:1")},
		}
		c.Publish(l)
		wantUpdates(t, f, "p1 192.0.2.10:1", "p2 192.0.2.20:1")
		l.Others = []mesh.Endpoint{{AffiliateID: "p1", Endpoint: endpoint("192.0.2.11:1")}, {AffiliateID: "p2", Endpoint: endpoint("192.0.2.20:1")}}
		c.Publish(l)
		wantUpdates(t, f, "p1 192.0.2.11:1")

		time.Sleep(discovery.MaxTTL / 2) // the refresh repeats everything, as it was sealed
		third := wantUpdates(t, f, "self data:h2 192.0.2.2:1", "p1 192.0.2.11:1", "p2 192.0.2.20:1")
		if string(third[0].AffiliateData) != string(second[0].AffiliateData) {
			t.Error("unchanged data was sealed again")
		}
		time.Sleep(10 * discovery.MaxTTL / 2)
		synctest.Wait()
		if got := len(f.takeUpdates()); got != 30 {
			t.Errorf("%d updates in 10 half TTLs, want 30", got)
		}

		f.endWatches() // and so does a new watch
		time.Sleep(2 * time.Second)
		wantUpdates(t, f, "self data:h2 192.0.2.2:1", "p1 192.0.2.11:1", "p2 192.0.2.20:1")
	})
}

func TestPublishDuringOutage(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		c := run(t, n, config("a:1"))
		c.Publish(local("h"))
		time.Sleep(time.Minute)
		c.Publish(local("h2"))
		f := n.start("a:1")
		time.Sleep(maxBackoff + time.Second)
		wantUpdates(t, f, "self data:h2")
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		f := n.start("a:1", sealed(t, secret, "p1", ""))
		f.refuse["self"] = status.Error(codes.ResourceExhausted, "too many affiliates in the cluster\x1b[31m")
		f.refuse["p1"] = status.Error(codes.ResourceExhausted, "too many endpoints in the affiliate")
		c := run(t, n, config("a:1"))
		l := local("h")
		l.Others = []mesh.Endpoint{{AffiliateID: "p1", Endpoint: endpoint("192.0.2.10:1")}}
		c.Publish(l)
		wantUpdates(t, f, "self data:h", "p1 192.0.2.10:1")
		want := []discovery.Problem{
			{AffiliateID: "p1", Reason: "the server refuses the update: too many endpoints in the affiliate"},
			{AffiliateID: "self", Reason: "the server refuses the update: too many affiliates in the cluster [31m"},
		}
		s := c.Snapshot()
		if !s.Connected || s.Published || !slices.Equal(s.Problems, want) || len(s.Affiliates) != 1 {
			t.Errorf("snapshot %+v", s)
		}
		f.mu.Lock()
		delete(f.refuse, "self")
		f.mu.Unlock()
		time.Sleep(time.Second)
		wantUpdates(t, f, "self data:h") // its own again, p1's not before the refresh
		if s := c.Snapshot(); !s.Published || !slices.Equal(s.Problems, want[:1]) {
			t.Errorf("published %v, problems %v", s.Published, s.Problems)
		}
		if hellos, _ := f.counts(); hellos != 1 {
			t.Errorf("a refusal broke the connection: %d hellos", hellos)
		}
	})
}

func TestUnpublishable(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		f := n.start("a:1")
		c := run(t, n, config("a:1"))
		l := local("h", "192.0.2.1:0", "192.0.2.1:1")
		c.Publish(l)
		wantUpdates(t, f, "self data:h 192.0.2.1:1")
		if p := c.Snapshot().Problems; len(p) != 1 || !strings.Contains(p[0].Reason, "port is zero") {
			t.Errorf("problems %v", p)
		}
		for i := range 200 {
			l.Affiliate.AdditionalAddresses = append(l.Affiliate.AdditionalAddresses, netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", i)))
		}
		c.Publish(l)
		wantUpdates(t, f)
		s := c.Snapshot()
		if s.Published || len(s.Problems) != 1 || !strings.Contains(s.Problems[0].Reason, "the limit is 2048") {
			t.Errorf("published %v, problems %v", s.Published, s.Problems)
		}
	})
}

func TestBrokenUpdateStartsOver(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		f := n.start("a:1", sealed(t, secret, "p1", ""))
		f.refuse["self"] = status.Error(codes.Unavailable, "storage")
		c := run(t, n, config("a:1"))
		c.Publish(local("h"))
		time.Sleep(time.Millisecond)
		wantIDs(t, c, "p1") // the snapshot was taken
		time.Sleep(10 * time.Minute)
		// The waits grow although each connection gives a snapshot: about one try a minute.
		if hellos, _ := f.counts(); hellos < 12 || hellos > 40 {
			t.Errorf("%d connections in ten minutes", hellos)
		}
		if err := c.Snapshot().LastError; err == nil || !strings.Contains(err.Error(), "update: Unavailable: storage") {
			t.Errorf("error %v", err)
		}
	})
}

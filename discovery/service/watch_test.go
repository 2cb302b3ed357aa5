package service

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/wirespan/wirespan/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFirstTryAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.start("a:1", sealed(t, secret, "p1", "one"), sealed(t, secret, "self", "me"))
		start := time.Now()
		c := run(t, n, config("a:1"))
		wantIDs(t, c, "p1")
		s := c.Snapshot()
		if !s.Connected || s.Server != "a:1" || s.PublicAddr.String() != "198.51.100.7" || s.LastError != nil || !s.Since.Equal(start) || s.Problems != nil {
			t.Errorf("snapshot %+v", s)
		}
		if a := s.Affiliates[0]; a.Hostname != "one" || len(a.Endpoints) != 1 {
			t.Errorf("affiliate %+v", a)
		}
		if !time.Now().Equal(start) {
			t.Errorf("it took %v", time.Since(start))
		}
		if !changed(c) || changed(c) {
			t.Error("want one coalesced wake-up")
		}
	})
}

func TestDeltas(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		f := n.start("a:1", sealed(t, secret, "p1", "one"))
		c := run(t, n, config("a:1"))
		wantIDs(t, c, "p1")
		changed(c)
		two := sealed(t, secret, "p2", "two")
		f.put(two)
		if !changed(c) {
			t.Error("a new affiliate gave no wake-up")
		}
		wantIDs(t, c, "p1", "p2")
		f.put(proto.CloneOf(two))
		if changed(c) {
			t.Error("an identical affiliate gave a wake-up")
		}
		f.put(sealed(t, secret, "p2", "zwei"))
		if !changed(c) || c.Snapshot().Affiliates[1].Hostname != "zwei" {
			t.Errorf("an update was not taken: %+v", c.Snapshot().Affiliates[1])
		}
	})
}

func TestDeletionIsVerified(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		f := n.start("a:1", sealed(t, secret, "p1", "one"), sealed(t, secret, "p2", "two"), sealed(t, secret, "p3", "three"))
		c := run(t, n, config("a:1"))
		wantIDs(t, c, "p1", "p2", "p3")

		f.announceDeleted("p1") // it stays in the server's state
		f.remove("p2")
		f.announceDeleted("never-heard-of")
		wantIDs(t, c, "p1", "p2", "p3") // not yet
		time.Sleep(2 * time.Second)
		wantIDs(t, c, "p1", "p3")
		if _, lists := f.counts(); lists != 1 {
			t.Errorf("%d Lists for two events at one time, want 1", lists)
		}

		f.remove("p3")
		f.put(sealed(t, secret, "p3", "back")) // before the List
		time.Sleep(2 * time.Second)
		wantIDs(t, c, "p1", "p3")
		if _, lists := f.counts(); lists > 2 {
			t.Errorf("%d Lists", lists)
		}
	})
}

func TestOutageKeepsData(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p1, p2, p3 := sealed(t, secret, "p1", "one"), sealed(t, secret, "p2", "two"), sealed(t, secret, "p3", "three")
		n.start("a:1", p1, p2, p3)
		c := run(t, n, config("a:1"))
		wantIDs(t, c, "p1", "p2", "p3")
		n.stop("a:1")
		time.Sleep(2 * time.Hour)
		wantIDs(t, c, "p1", "p2", "p3")
		s := c.Snapshot()
		if s.Connected || s.LastError == nil || !strings.Contains(s.LastError.Error(), "discovery service a:1") || !strings.Contains(s.LastError.Error(), "connection refused") {
			t.Errorf("connected %v, error %v", s.Connected, s.LastError)
		}
		// One of three is missing: it may be the last one to publish itself again to a
		// server that has lost everything.
		n.start("a:1", p1, p2)
		time.Sleep(maxBackoff + time.Second)
		wantIDs(t, c, "p1", "p2", "p3")
		if s := c.Snapshot(); !s.Connected || s.LastError != nil || len(s.Problems) != 0 {
			t.Errorf("connected %v, error %v, problems %v", s.Connected, s.LastError, s.Problems)
		}
		time.Sleep(discovery.MaxTTL)
		wantIDs(t, c, "p1", "p2")
	})
}

// A service counts as lost only after a connection. The error is visible at once.
func TestUnreachableIsNotLost(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var out bytes.Buffer
		cfg := config("a:1", "b:1")
		cfg.Log = hclog.New(&hclog.LoggerOptions{Output: &out})
		start := time.Now()
		c := run(t, n, cfg)
		synctest.Wait()
		if s := c.Snapshot(); s.LastError == nil || !changed(c) || !time.Now().Equal(start) {
			t.Errorf("%v after the start the error is %v", time.Since(start), s.LastError)
		}
		time.Sleep(2 * maxBackoff)
		n.start("a:1", sealed(t, secret, "p1", "one"))
		time.Sleep(maxBackoff + time.Second)
		wantIDs(t, c, "p1")
		n.stop("a:1")
		time.Sleep(2 * maxBackoff)
		synctest.Wait()
		var got []string
		for line := range strings.Lines(out.String()) {
			if strings.Contains(line, "[WARN]") {
				got = append(got, line)
			}
		}
		if len(got) != 2 || !strings.Contains(got[0], "can't reach discovery service, retrying") || !strings.Contains(got[1], "discovery service lost, retrying") {
			t.Errorf("warned %q", got)
		}
	})
}

func TestSuspiciouslyEmptySnapshot(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var all []*pb.Affiliate
		for i := range 4 {
			all = append(all, sealed(t, secret, fmt.Sprintf("p%d", i), ""))
		}
		n.start("a:1", all...)
		cfg := config("a:1")
		cfg.TTL = 10 * time.Minute
		c := run(t, n, cfg)
		wantIDs(t, c, "p0", "p1", "p2", "p3")
		n.stop("a:1")
		f := n.start("a:1", all[0])
		time.Sleep(2 * time.Second)
		wantIDs(t, c, "p0", "p1", "p2", "p3")
		if p := c.Snapshot().Problems; len(p) != 1 || !strings.Contains(p[0].Reason, "lost more than half") {
			t.Errorf("problems %v", p)
		}
		f.put(all[1])  // publishes itself again
		f.remove("p2") // unknown to this server, so it says nothing that is true of p2 but this
		f.endWatches() // a second suspicious snapshot doesn't prolong anything
		time.Sleep(5 * time.Minute)
		wantIDs(t, c, "p0", "p1", "p3")
		time.Sleep(6 * time.Minute)
		wantIDs(t, c, "p0", "p1")
		if p := c.Snapshot().Problems; len(p) != 0 {
			t.Errorf("problems %v", p)
		}
	})
}

// tableConfig configures a table that is tested without a client.
var tableConfig = Config{AffiliateID: "self", Secret: secret, TTL: time.Minute}

func TestSnapshotConfirmsDeletion(t *testing.T) {
	now := time.Unix(1e9, 0)
	p1, p2 := sealed(t, secret, "p1", ""), sealed(t, secret, "p2", "")
	tab := newTable(&tableConfig)
	tab.snapshot(raw(p1, p2), now)
	tab.delta(event{raw(&pb.Affiliate{Id: "p1"}, &pb.Affiliate{Id: "p2"}), true}, now)
	tab.snapshot(raw(p2), now)
	if tab.Has("p1") || !tab.Has("p2") || tab.unverified() {
		t.Errorf("%d entries, deleted %v", tab.Len(), tab.deleted)
	}
}

// A List does not decide a deletion that arrives while it is under way.
func TestDeletionDuringList(t *testing.T) {
	p1 := sealed(t, secret, "p1", "")
	tab := newTable(&tableConfig)
	deletion := event{raw(&pb.Affiliate{Id: "p1"}), true}
	now := time.Unix(1e9, 0)
	tab.snapshot(raw(p1), now)
	tab.delta(deletion, now)
	tab.verify()
	tab.delta(deletion, now)
	tab.verified(raw(p1), now) // older than the second event
	if !tab.unverified() {
		t.Fatal("the second deletion was forgotten")
	}
	tab.verify()
	tab.verified(nil, now)
	if tab.Len() != 0 || tab.unverified() {
		t.Errorf("%d entries, deleted %v", tab.Len(), tab.deleted)
	}
}

func TestTableLimits(t *testing.T) {
	tab := newTable(&tableConfig)
	var many []*pb.Affiliate
	for i := range discovery.MaxAffiliates + 1 {
		many = append(many, &pb.Affiliate{Id: fmt.Sprint(i)})
	}
	tab.snapshot(raw(many...), time.Unix(1e9, 0))
	_, problems := tab.Result()
	if tab.Len() != discovery.MaxAffiliates || len(problems) != 1 || !strings.Contains(problems[0].Reason, "limit of 1024") {
		t.Errorf("%d entries, problems %v", tab.Len(), problems)
	}
}

func TestWrongSecretIsSaidOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var log bytes.Buffer
		f := n.start("a:1", sealed(t, otherSecret, "p1", ""), sealed(t, otherSecret, "p2", ""))
		cfg := config("a:1")
		cfg.Log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug})
		c := run(t, n, cfg)
		for i := range 20 {
			f.put(sealed(t, otherSecret, fmt.Sprintf("p%d", i), ""))
			time.Sleep(time.Minute)
		}
		f.endWatches()
		time.Sleep(time.Minute)
		wantIDs(t, c)
		if p := c.Snapshot().Problems; len(p) != 1 || p[0] != (discovery.Problem{Reason: discovery.ReasonWrongSecret}) {
			t.Errorf("problems %v", p)
		}
		if got := strings.Count(log.String(), discovery.ReasonWrongSecret); got != 1 {
			t.Errorf("said %d times:\n%s", got, log.String())
		}
		if strings.Contains(log.String(), clusterID) || !strings.Contains(log.String(), clusterID[:8]) {
			t.Errorf("the log must hold eight characters of the cluster id:\n%s", log.String())
		}
		// With the right secret for one of them, each other one has a problem of its own.
		f.put(sealed(t, secret, "p1", ""))
		wantIDs(t, c, "p1")
		if p := c.Snapshot().Problems; len(p) != 19 {
			t.Errorf("%d problems, want 19", len(p))
		}
	})
}

func TestSilentServer(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		f := n.start("a:1")
		f.stall = make(chan struct{}) // it accepts connections, and answers nothing
		c := run(t, n, config("a:1"))
		time.Sleep(helloTimeout + time.Millisecond)
		synctest.Wait()
		err := c.Snapshot().LastError
		close(f.stall)
		if err == nil || !strings.Contains(err.Error(), "hello: DeadlineExceeded") {
			t.Errorf("error %v", err)
		}
		time.Sleep(5 * time.Second)
		if synctest.Wait(); !c.Snapshot().Connected {
			t.Errorf("not connected: %v", c.Snapshot().LastError)
		}
	})
}

// FuzzApply feeds watch messages that a hostile server could send.
func FuzzApply(f *testing.F) {
	seed := func(m *pb.WatchResponse) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	p1, p2 := sealed(f, secret, "p1", "one"), sealed(f, otherSecret, "p2", "two")
	f.Add(seed(&pb.WatchResponse{Affiliates: []*pb.Affiliate{p1, p2, p1}}), seed(&pb.WatchResponse{Affiliates: []*pb.Affiliate{{Id: "p1"}}, Deleted: true}))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a, err := decodeEvent(first, maxEntries)
		b, err2 := decodeEvent(second, maxDeltaAffiliates)
		if err != nil || err2 != nil {
			return
		}
		now := time.Unix(1e9, 0)
		tab := newTable(&tableConfig)
		tab.snapshot(a.affiliates, now)
		tab.delta(b, now)
		tab.verify()
		tab.verified(a.affiliates, now)
		tab.snapshot(b.affiliates, now)
		tab.Advance(now.Add(time.Minute))
		affiliates, _ := tab.Result()
		for _, got := range affiliates {
			if got.NodeID == "self" || discovery.CheckID(got.NodeID) != nil || len(got.Endpoints) > discovery.MaxEndpoints {
				t.Fatalf("affiliate %+v", got)
			}
		}
		if tab.Len() > discovery.MaxAffiliates || !tab.Next().IsZero() || tab.unverified() && !b.deleted {
			t.Fatalf("%d entries, next at %v", tab.Len(), tab.Next())
		}
	})
}

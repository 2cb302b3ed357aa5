package server

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/discovery"
)

var t0 = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// step is one action at a time after t0, and the events that watchers get.
type step struct {
	at     time.Duration
	update *Update
	remove string // delete this affiliate; "" with no update: expire
	events string
	err    error
}

func put(data string, ttl time.Duration, endpoints ...string) *Update {
	u := &Update{Affiliate: "a", Data: []byte(data), TTL: ttl}
	for _, e := range endpoints {
		u.Endpoints = append(u.Endpoints, []byte(e))
	}
	return u
}

func many(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint("e", i))
	}
	return out
}

const minute = time.Minute

func TestClusterRules(t *testing.T) {
	for _, tc := range []struct {
		name  string
		steps []step
		final string // affiliates with their remaining life after t0
	}{
		{"new affiliate notifies", []step{
			{update: put("x", minute), events: "a=x[]"},
		}, "a=x[]@1m"},
		{"new affiliate without data or endpoints notifies", []step{
			{update: put("", minute), events: "a=[]"},
		}, "a=[]@1m"},
		{"new affiliate of endpoints only", []step{
			{update: put("", minute, "p"), events: "a=[p]"},
		}, "a=[p@1m]@1m"},
		{"identical data notifies", []step{
			{update: put("x", minute), events: "a=x[]"},
			{update: put("x", minute), events: "a=x[]"},
		}, "a=x[]@1m"},
		{"data prolongs", []step{
			{update: put("x", minute), events: "a=x[]"},
			{at: minute, update: put("y", minute), events: "a=y[]"},
		}, "a=y[]@2m"},
		{"data shortens, but not its endpoints", []step{
			{update: put("x", 10*minute, "p"), events: "a=x[p]"},
			{at: minute, update: put("y", minute, "p"), events: "a=y[p]"},
		}, "a=y[p@10m]@2m"},
		{"empty data leaves data", []step{
			{update: put("x", minute), events: "a=x[]"},
			{update: put("", minute, "p"), events: "a=x[p]"},
		}, "a=x[p@1m]@1m"},
		{"endpoints are a union in order of arrival", []step{
			{update: put("x", minute, "q", "p", "q"), events: "a=x[q p]"},
			{update: put("x", minute, "o", "p"), events: "a=x[q p o]"},
		}, "a=x[q@1m p@1m o@1m]@1m"},
		{"what others see stays behind what the owner announces, however often they say it", []step{
			{update: put("x", 30*minute, "p", "q"), events: "a=x[p q]"},
			{at: minute, update: put("", 30*minute, "seen"), events: "a=x[p q seen]"},
			{at: minute, update: put("", 30*minute, "seen", "q")},
			{at: 2 * minute, update: put("y", 30*minute, "q", "p"), events: "a=y[p q seen]"},
		}, "a=y[p@32m q@32m seen@31m]@32m"},
		{"known endpoints are silent and prolong", []step{
			{update: put("x", minute, "p"), events: "a=x[p]"},
			{at: minute, update: put("", minute, "p")},
		}, "a=x[p@2m]@2m"},
		{"known endpoints never shorten", []step{
			{update: put("x", 10*minute, "p"), events: "a=x[p]"},
			{at: minute, update: put("", minute, "p")},
		}, "a=x[p@10m]@10m"},
		{"nothing at all still prolongs, silently", []step{
			{update: put("x", minute), events: "a=x[]"},
			{at: minute, update: put("", minute)},
		}, "a=x[]@2m"},
		{"no TTL ends at once", []step{
			{update: put("x", 0), events: "a=x[]"},
			{at: 0}, // expiry is not before now
			{at: 1, events: "-a"},
		}, ""},
		{"a negative TTL is none", []step{
			{update: put("x", -minute, "p"), events: "a=x[p]"},
			{at: 1, events: "-a"},
		}, ""},
		{"delete", []step{
			{update: put("x", minute), events: "a=x[]"},
			{remove: "a", events: "-a"},
			{remove: "a"},
			{remove: "never seen"},
		}, ""},
		{"affiliate lives up to and including its expiry", []step{
			{update: put("x", minute), events: "a=x[]"},
			{at: minute},
			{at: minute + 1, events: "-a"},
		}, ""},
		{"endpoint ends at its expiry, and the affiliate stays", []step{
			{update: put("x", 10*minute), events: "a=x[]"},
			{update: put("", minute, "p"), events: "a=x[p]"},
			{update: put("", 2*minute, "q"), events: "a=x[p q]"},
			{at: minute - 1},
			{at: minute, events: "a=x[q]"}, // not deleted, unlike Sidero's server
			{at: minute + 1},
		}, "a=x[q@2m]@10m"},
		{"too many endpoints: a new affiliate stays with the first 64", []step{
			{update: put("x", minute, many(0, 65)...), events: "a=x[" + strings.Join(many(0, 64), " ") + "]", err: ErrTooManyEndpoints},
		}, "a=x[" + strings.Join(many(0, 64), "@1m ") + "@1m]@1m"},
		{"too many endpoints: those before the 65th are kept", []step{
			{update: put("x", minute, many(0, 63)...), events: "a=x[" + strings.Join(many(0, 63), " ") + "]"},
			{update: put("", minute, many(60, 70)...), events: "a=x[" + strings.Join(many(0, 64), " ") + "]", err: ErrTooManyEndpoints},
			{update: put("", minute, "e70"), err: ErrTooManyEndpoints},
		}, "a=x[" + strings.Join(many(0, 64), "@1m ") + "@1m]@1m"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(netip.Prefix{}, newPool(maxTotalAffiliates))
			w := &watcher{events: make(chan Event, watchBuffer)}
			c.watchers[w] = struct{}{}
			for i, s := range tc.steps {
				if err := s.apply(c); !errors.Is(err, s.err) {
					t.Errorf("step %d: error %v, want %v", i, err, s.err)
				}
				if got := drain(w); got != s.events {
					t.Errorf("step %d: events %q, want %q", i, got, s.events)
				}
			}
			if got := c.dump(); got != tc.final {
				t.Errorf("state %q, want %q", got, tc.final)
			}
		})
	}
}

func (s step) apply(c *cluster) error {
	now := t0.Add(s.at)
	switch {
	case s.update != nil:
		return c.update(*s.update, now)
	case s.remove != "":
		c.remove(s.remove)
	default:
		c.expire(now)
	}
	return nil
}

func drain(w *watcher) string {
	var out []string
	for {
		select {
		case ev, ok := <-w.events:
			if !ok {
				return strings.Join(append(out, "lost"), ", ")
			}
			out = append(out, ev.dump())
		default:
			return strings.Join(out, ", ")
		}
	}
}

func (ev Event) dump() string {
	if ev.Deleted {
		return "-" + ev.ID
	}
	return ev.Affiliate.dump()
}

func (a Affiliate) dump() string {
	return fmt.Sprintf("%s=%s%s", a.ID, a.Data, a.Endpoints)
}

func (c *cluster) dump() string {
	var out []string
	for id, a := range c.affiliates {
		var eps []string
		for _, e := range a.endpoints {
			eps = append(eps, fmt.Sprintf("%s@%v", e.data, e.expiry.Sub(t0)))
		}
		out = append(out, fmt.Sprintf("%s=%s[%s]@%v", id, a.data, strings.Join(eps, " "), a.expiry.Sub(t0)))
	}
	slices.Sort(out)
	return strings.ReplaceAll(strings.Join(out, " "), "m0s", "m")
}

func TestClusterBoundsAffiliates(t *testing.T) {
	c := newCluster(netip.Prefix{}, newPool(maxTotalAffiliates))
	for i := range discovery.MaxAffiliates {
		if err := c.update(Update{Affiliate: fmt.Sprint(i), TTL: minute}, t0); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.update(Update{Affiliate: "one more"}, t0); !errors.Is(err, ErrTooManyAffiliates) {
		t.Errorf("one more: %v", err)
	}
	if err := c.update(Update{Affiliate: "7", Data: []byte("x")}, t0); err != nil {
		t.Errorf("one that is known: %v", err)
	}
}

func TestSlowWatcherLosesItsSubscriptionOnly(t *testing.T) {
	c := newCluster(netip.Prefix{}, newPool(maxTotalAffiliates))
	slow, quick := &watcher{events: make(chan Event, watchBuffer)}, &watcher{events: make(chan Event, watchBuffer)}
	c.watchers[slow], c.watchers[quick] = struct{}{}, struct{}{}
	for i := range watchBuffer + 1 {
		if err := c.update(*put(fmt.Sprint(i), minute), t0); err != nil {
			t.Fatal(err)
		}
		if got, want := drain(quick), fmt.Sprintf("a=%d[]", i); got != want {
			t.Fatalf("quick watcher got %q, want %q", got, want)
		}
	}
	got := drain(slow)
	if n := strings.Count(got, "a="); n != watchBuffer || !strings.HasSuffix(got, ", lost") {
		t.Errorf("slow watcher got %d events, then %q; want %d and the end", n, got[max(0, len(got)-6):], watchBuffer)
	}
	if len(c.watchers) != 1 {
		t.Errorf("%d watchers left, want the quick one", len(c.watchers))
	}
}

package discovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// paced is a table that counts what it opens.
type paced struct {
	*Table
	now    time.Time
	opened map[string]int
}

func newPaced() *paced {
	p := &paced{now: tableStart, opened: map[string]int{}}
	p.Table = NewTable("self", func(raw RawAffiliate, _ Known) Opened {
		p.opened[raw.ID]++
		return Opened{Affiliate: mesh.Affiliate{NodeID: raw.ID, Hostname: string(raw.Data), Record: mesh.Record{Sequence: 1}}}
	}, time.Minute)
	return p
}

func (p *paced) put(id, data string) {
	p.Update([]RawAffiliate{{ID: id, Data: []byte(data)}}, p.now)
}

// pass lets time go by.
func (p *paced) pass(d time.Duration) {
	for end := p.now.Add(d); ; {
		next := p.Next()
		if next.IsZero() || next.After(end) {
			p.now = end
			return
		}
		p.now = next
		p.Advance(next)
	}
}

func (p *paced) shown(id string) string {
	affiliates, _ := p.Result()
	for _, a := range affiliates {
		if a.NodeID == id {
			return a.Hostname
		}
	}
	return ""
}

// 900 nodes publish ever newer records: what is opened is bounded, and the record of
// another node in the same stream is there with the next batch.
func TestOpeningIsPaced(t *testing.T) {
	p := newPaced()
	p.put("honest", "one")
	const minutes = 2
	for i := range minutes * 120 { // each half a second
		for j := range 900 {
			p.put(fmt.Sprint("sybil", j), fmt.Sprint(i))
		}
		p.pass(time.Second / 2)
		if i%120 == 60 { // once a minute
			want := fmt.Sprint("honest ", i)
			p.put("honest", want)
			p.put("self", want)
			p.pass(batchInterval)
			if got := p.shown("honest"); got != want {
				t.Errorf("after %v the record is %q, not %q", batchInterval, got, want)
			}
			if _, own := p.Own(); own.Hostname != want {
				t.Errorf("after %v the own record is %q, not %q", batchInterval, own.Hostname, want)
			}
		}
	}
	total, limit := 0, totalBurst+int(p.now.Sub(tableStart)/totalInterval)
	for id, n := range p.opened {
		total += n
		if most := openBurst + int(p.now.Sub(tableStart)/openInterval) + 1; n > most {
			t.Errorf("%s was opened %d times, the limit is %d", id, n, most)
		}
	}
	if total > limit || total < limit/2 {
		t.Errorf("opened %d times, the limit is %d", total, limit)
	}
	p.pass(time.Minute)
	if got, want := p.shown("sybil7"), fmt.Sprint(minutes*120-1); got != want {
		t.Errorf("in the end %q is shown, not the newest %q", got, want)
	}
	if !p.Next().IsZero() {
		t.Error("something waits in the end")
	}
}

// Others need not wait for one that changes all the time.
func TestOneThatChangesAllTheTime(t *testing.T) {
	p := newPaced()
	for i := range 100 {
		p.put("restless", fmt.Sprint(i))
	}
	if got := p.opened["restless"]; got != openBurst {
		t.Errorf("opened %d times at once, want %d", got, openBurst)
	}
	p.put("honest", "one")
	if got := p.shown("honest"); got != "one" {
		t.Errorf("another node's record shows %q", got)
	}
	p.pass(openInterval)
	if got := p.shown("restless"); got != "99" {
		t.Errorf("after the interval %q is shown, not the newest", got)
	}
}

// A whole cluster is there at once, also if all of it changes.
func TestListingsAreOpenedAtOnce(t *testing.T) {
	p := newPaced()
	for _, data := range []string{"one", "two"} {
		var list []RawAffiliate
		for i := range MaxAffiliates {
			list = append(list, RawAffiliate{ID: fmt.Sprint(i), Data: []byte(data)})
		}
		p.Replace(list, p.now)
		affiliates, _ := p.Result()
		if len(affiliates) != MaxAffiliates || affiliates[7].Hostname != data || !p.Next().IsZero() {
			t.Errorf("%d affiliates, the last is %+v", len(affiliates), affiliates[len(affiliates)-1])
		}
	}
}

// What waits goes with its entry.
func TestRemovedWhileWaiting(t *testing.T) {
	p := newPaced()
	for i := range 100 {
		p.put("a", fmt.Sprint(i))
	}
	p.Remove("a")
	p.pass(time.Minute)
	if p.opened["a"] != openBurst || p.shown("a") != "" || p.waiting != 0 {
		t.Errorf("opened %d times, %q is shown, %d wait", p.opened["a"], p.shown("a"), p.waiting)
	}
}

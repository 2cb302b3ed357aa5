package path

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func candidates(addrs ...netip.AddrPort) (list []Candidate) {
	for _, a := range addrs {
		list = append(list, Candidate{Addr: a})
	}
	return list
}

func TestOrder(t *testing.T) {
	a, b, c, d := addr(1, 1), addr(1, 2), addr(1, 3), addr(1, 4)
	name := map[netip.AddrPort]string{a: "a", b: "b", c: "c", d: "d"}
	ago := func(d time.Duration) time.Time { return epoch.Add(-d) }
	for _, test := range []struct {
		name string
		list []candidate
		want string
	}{
		{"as announced", []candidate{{Candidate: Candidate{Addr: a}}, {Candidate: Candidate{Addr: b}}}, "ab"},
		{"by rank", []candidate{{Candidate: Candidate{Addr: a, Rank: 2}}, {Candidate: Candidate{Addr: b, Rank: 1}}, {Candidate: Candidate{Addr: c, Rank: 3}}}, "bac"},
		{"proven first", []candidate{{Candidate: Candidate{Addr: a, Rank: 1}}, {Candidate: Candidate{Addr: b, Rank: 2}, good: ago(time.Minute)}}, "ba"},
		{"last good first", []candidate{{Candidate: Candidate{Addr: a, Rank: 1}, good: ago(time.Minute)}, {Candidate: Candidate{Addr: b, Rank: 2}, good: ago(time.Second)}}, "ba"},
		{"failed since", []candidate{{Candidate: Candidate{Addr: a, Rank: 1}, good: ago(time.Second), tries: 1}, {Candidate: Candidate{Addr: b, Rank: 2}, good: ago(time.Minute)}}, "ba"},
		{"long ago is as never", []candidate{{Candidate: Candidate{Addr: a, Rank: 2}, good: ago(2 * provenTime)}, {Candidate: Candidate{Addr: b, Rank: 1}}}, "ba"},
		{"by time", []candidate{{Candidate: Candidate{Addr: a}, rtt: 9}, {Candidate: Candidate{Addr: b}, rtt: 3}, {Candidate: Candidate{Addr: d}, rtt: 4}}, "bda"},
	} {
		p := New(true, &Budget{})
		for i := range test.list {
			p.all = append(p.all, &test.list[i])
		}
		var got strings.Builder
		for _, c := range p.order(epoch) {
			got.WriteString(name[c.Addr])
		}
		if got.String() != test.want {
			t.Errorf("%s: %s, want %s", test.name, &got, test.want)
		}
	}
}

// Lists are bounded, whatever discovery says.
func TestManyCandidates(t *testing.T) {
	p := New(true, &Budget{})
	var list []Candidate
	for i := range 3 * MaxCandidates {
		list = append(list, Candidate{Addr: addr(byte(i/200), byte(i%200))}, Candidate{Addr: addr(9, 9)})
	}
	p.SetCandidates(epoch, list)
	for i := range 100 {
		p.Responded(epoch, addr(20, byte(i)))
	}
	if got := len(p.Status(epoch).Candidates); got > MaxCandidates+maxSeen+1 {
		t.Errorf("%d candidates are kept", got)
	}
}

// Where a peer was seen counts as its host does, and a host that nobody announced as the last.
func TestRankOfSeenAddresses(t *testing.T) {
	host, behindNAT := addr(1, 1), addr(9, 9)
	p := New(true, &Budget{})
	p.SetCandidates(epoch, []Candidate{{Addr: host, Rank: 1}, {Addr: addr(1, 2), Rank: 3}})
	otherPort := netip.AddrPortFrom(host.Addr(), 4000)
	for seen, want := range map[netip.AddrPort]int{behindNAT: 3, otherPort: 1} {
		p.Responded(epoch, seen)
		if got := p.find(seen).Rank; got != want {
			t.Errorf("%v has rank %d, want %d", seen, got, want)
		}
	}
}

// While the answer to a peer that has called is on its way, nothing is started.
func TestCalled(t *testing.T) {
	p := New(true, &Budget{})
	p.Called(epoch)
	p.SetCandidates(epoch, candidates(addr(1, 1)))
	if acts, wake := p.Step(epoch, Observed{}); len(acts) > 0 || wake.Sub(epoch) != answerPause {
		t.Errorf("acts %v, wakes in %v", acts, wake.Sub(epoch))
	}
}

// Refusals of this host are shown with their reason, and do not stop the search.
func TestFailed(t *testing.T) {
	p := New(true, &Budget{})
	p.SetCandidates(epoch, candidates(addr(1, 1)))
	p.Step(epoch, Observed{})
	for _, a := range p.Made(epoch, false) {
		p.Failed(epoch, a.To, "operation not permitted")
	}
	c := p.Status(epoch).Candidates[0]
	if c.Result != Refused || c.Why != "operation not permitted" {
		t.Errorf("result %q, why %q", c.Result, c.Why)
	}
	if _, wake := p.Step(epoch, Observed{}); wake.IsZero() || wake.Sub(epoch) > racePatience {
		t.Errorf("the next try is at %v", wake.Sub(epoch))
	}
}

// settled returns a Peer with a session, and another candidate of the same rank.
func settled(t testing.TB) *Peer {
	t.Helper()
	p := New(true, &Budget{})
	p.SetCandidates(epoch, candidates(addr(1, 1), addr(2, 1)))
	p.Step(epoch, Observed{})
	p.Made(epoch, false)
	p.Answered(epoch.Add(time.Millisecond), addr(1, 1))
	p.Session(epoch.Add(time.Millisecond), addr(1, 1))
	if s := p.Status(epoch); !s.Settled || s.Current != addr(1, 1) || s.RTT != time.Millisecond {
		t.Fatalf("status %+v", s)
	}
	return p
}

// A peer that answers handshakes and no echoes is soon asked for none.
func TestMutePeer(t *testing.T) {
	p := settled(t)
	check := func() (echoes int) {
		for now := p.heard.Add(silence); ; {
			acts, wake := p.Step(now, Observed{})
			for _, a := range acts {
				switch a.Do {
				case Echo:
					echoes++
				case Initiate, Restart:
					p.Made(now, false)
					p.Session(now.Add(time.Millisecond), addr(1, 1))
					return echoes
				}
			}
			now = wake
		}
	}
	for i, want := range []int{manyEchoes, manyEchoes, 0, 0} {
		if got := check(); got != want {
			t.Errorf("check %d: %d echo requests, want %d", i, got, want)
		}
	}
}

// A settled peer is stepped all the time: that allocates nothing.
func TestStepAllocates(t *testing.T) {
	p, now := settled(t), epoch
	if got := testing.AllocsPerRun(1000, func() {
		now = now.Add(10 * time.Millisecond)
		if acts, wake := p.Step(now, Observed{Heard: now}); len(acts) > 0 || !wake.After(now) {
			t.Fatalf("%v: acts %v, wake %v", now, acts, wake)
		}
	}); got > 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkStep(b *testing.B) {
	p, now := settled(b), epoch
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(10 * time.Millisecond)
		p.Step(now, Observed{Heard: now})
	}
}

// FuzzPeer tells a Peer what can't be, in any order.
func FuzzPeer(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 0, 2, 1, 1, 0, 5, 3, 1})
	f.Add([]byte{0, 7, 1, 0, 1, 1, 2, 0, 9, 3, 0, 9, 4, 4, 4, 5, 0, 0, 8, 255, 0, 1, 255, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		p, now := New(len(script)%2 == 0, &Budget{}), epoch
		last, sent := Observed{}, map[netip.AddrPort]int{}
		for len(script) >= 3 {
			op, arg, wait := script[0], script[1], script[2]
			script = script[3:]
			now = now.Add(time.Duration(wait) * time.Duration(wait) * time.Millisecond)
			tell(p, op, arg, now, &last, sent)
			if err := stepUntilQuiet(p, now, last, sent); err != nil {
				t.Fatal(err)
			}
		}
		limit := (int(now.Sub(epoch)/time.Second)+1)*nodeRate + int(now.Sub(epoch)/firstRefill+2)*firstPerPeer
		total := 0
		for a, n := range sent {
			if c := p.find(a); c == nil || c.good.IsZero() {
				total += n
			}
		}
		if total > limit {
			t.Errorf("%d datagrams to strangers in %v", total, now.Sub(epoch))
		}
	})
}

// tell calls one method of a Peer.
func tell(p *Peer, op, arg byte, now time.Time, o *Observed, sent map[netip.AddrPort]int) {
	to := addr(arg%8, 1)
	switch op % 11 {
	case 0:
		var list []Candidate
		for i := range arg % 8 {
			list = append(list, Candidate{Addr: addr(arg/8+i, 1), Rank: int(i % 3)})
		}
		p.SetCandidates(now, list)
	case 1:
		record(p.Made(now, arg%2 == 0), sent)
	case 2:
		p.Answered(now, to)
	case 3:
		p.Session(now, to)
	case 4:
		p.Responded(now, to)
	case 5:
		p.Echoed(now, time.Duration(binary.LittleEndian.Uint16([]byte{arg, op}))*time.Millisecond)
	case 6:
		p.Roamed(now, to)
	case 7:
		p.Failed(now, to, "refused")
	case 8:
		p.Changed(now)
	case 9:
		o.Heard, o.Unanswered = now, time.Time{}
	case 10:
		o.Unanswered = now.Add(-time.Duration(arg) * 10 * time.Millisecond)
	}
}

func record(acts []Action, sent map[netip.AddrPort]int) {
	for _, a := range acts {
		if a.Do == Copy || a.Do == Open {
			sent[a.To]++
		}
	}
}

// stepUntilQuiet steps a Peer, and makes what it asks for.
func stepUntilQuiet(p *Peer, now time.Time, o Observed, sent map[netip.AddrPort]int) error {
	for range 20 {
		acts, wake := p.Step(now, o)
		if !wake.IsZero() && !wake.After(now) {
			return fmt.Errorf("wake %v is not after now", wake.Sub(now))
		}
		record(acts, sent)
		made := false
		for _, a := range acts {
			if a.Do == Initiate || a.Do == Restart {
				made = true
			}
		}
		if !made {
			return nil
		}
		record(p.Made(now, false), sent)
	}
	return fmt.Errorf("Step never comes to rest")
}

// A node that has just answered a peer gets another key. The initiation that its device makes
// then leaves, though otherwise the peer's session would be waited for.
func TestRekeyed(t *testing.T) {
	for _, rekeyed := range []bool{false, true} {
		p := New(true, &Budget{})
		p.SetCandidates(epoch, candidates(addr(1, 1)))
		p.Responded(epoch, addr(1, 1))
		if rekeyed {
			p.Rekeyed(false)
		}
		actions := p.Made(epoch.Add(20*time.Millisecond), true)
		if sent := len(actions) == 1 && actions[0].Do == Copy; sent != rekeyed {
			t.Errorf("with another key %v: %v", rekeyed, actions)
		}
	}
}

// New endpoints of a peer that has not been heard lately have its path tested: it may have
// moved. Other changes do not, and what is heard ends the test.
func TestNewEndpointsPutThePathInDoubt(t *testing.T) {
	tested := func(after time.Duration, list ...netip.AddrPort) bool {
		p, now := settled(t), epoch.Add(after)
		p.SetCandidates(now, candidates(list...))
		acts, _ := p.Step(now, Observed{})
		return slices.Contains(acts, Action{Do: Echo})
	}
	old, fresh := addr(2, 1), addr(3, 1)
	for name, c := range map[string]struct {
		got, want bool
	}{
		"heard lately": {tested(time.Second, addr(1, 1), old, fresh), false},
		"quiet":        {tested(10*time.Second, addr(1, 1), old, fresh), true},
		"nothing new":  {tested(10*time.Second, addr(1, 1)), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: the path is tested: %v", name, c.got)
		}
	}
}

// Some lost echoes are loss. A path that was cut and is back is no lossy one: to leave it
// when it is cut again should not take longer.
func TestCutIsNoLoss(t *testing.T) {
	for lost, want := range map[int]bool{1: true, 5: true, 15: false, 23: false} {
		p, now := settled(t), epoch.Add(time.Minute)
		for range lost + 1 {
			acts, _ := p.Step(now, Observed{})
			if !slices.Contains(acts, Action{Do: Echo}) {
				t.Fatalf("%d lost: no echo request after %v", lost, now.Sub(epoch))
			}
			now = now.Add(echoGap)
		}
		p.Echoed(now.Add(-echoGap+time.Millisecond), time.Millisecond)
		if got := p.Status(now).Loss > lossy; got != want {
			t.Errorf("%d lost: the loss is %v", lost, p.Status(now).Loss)
		}
	}
}

// A peer calls on another path at the moment at which ours is given up. Its session is there
// at once, so that path is kept, and no initiation ends the session.
func TestCalledWhenGivingUp(t *testing.T) {
	p, other := settled(t), addr(2, 1)
	now := epoch.Add(time.Minute)
	acts, wake := p.Step(now, Observed{Heard: epoch})
	for p.check.stage != verify || p.check.asked < verifies {
		for _, a := range acts {
			if a.Do == Initiate || a.Do == Restart {
				p.Made(now, false)
			}
		}
		now = wake
		acts, wake = p.Step(now, Observed{Heard: epoch})
	}
	p.Made(now, false)
	now = p.check.until // that of the last one, which has had no answer
	p.Responded(now, other)
	acts, _ = p.Step(now, Observed{Heard: epoch})
	for _, a := range acts {
		if a.Do == Restart || a.Do == Initiate {
			t.Errorf("%v, although the peer has just called", a.Do)
		}
	}
	if !p.Settled() || p.current != other {
		t.Errorf("settled %v at %v, want %v", p.Settled(), p.current, other)
	}
}

// The device is about to make an initiation when it answers one of the peer: ours would end
// the session that the answer is for.
func TestCalledBeforeInitiation(t *testing.T) {
	p := New(true, &Budget{})
	p.SetCandidates(epoch, candidates(addr(1, 1)))
	acts, _ := p.Step(epoch, Observed{})
	if !slices.Contains(acts, Action{Do: Restart}) || !p.Asked() {
		t.Fatalf("%v", acts)
	}
	p.Responded(epoch, addr(1, 1))
	if p.Asked() {
		t.Error("an initiation is wanted still")
	}
}

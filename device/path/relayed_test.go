package path

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A path that loses nothing is not left for one of its rank that loses a fifth, busy or not.
func TestCleanPathIsKept(t *testing.T) {
	for seed := range int64(8) {
		p := settledPair(t, seed, 2, way{delay: 20 * time.Millisecond}, seed%3 > 0)
		clean := p.inUse(p.a)
		p.join(p.ai[1-clean], p.bi[1-clean], way{delay: time.Millisecond, loss: 0.2})
		if seed%2 == 0 {
			p.a.traffic(100 * time.Millisecond)
		}
		for range 30 {
			p.run(time.Minute)
			if p.inUse(p.a) != clean {
				t.Fatalf("seed %d: left after %v", seed, p.elapsed())
			}
		}
	}
}

// While a path works, these candidates are tried with a handshake of their own.
func TestTriedInstead(t *testing.T) {
	at := func(host byte, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, host}), port)
	}
	relayed := func(host byte, port uint16) Candidate { return Candidate{Addr: at(host, port), Rank: 5, Relayed: true} }
	used, usedDirectly := relayed(1, 1), Candidate{Addr: at(1, 1), Rank: 5}
	for name, tt := range map[string]struct {
		used   Candidate
		others []Candidate // announced later
		want   []netip.AddrPort
	}{
		"the peer's new address on its relay":       {used, []Candidate{relayed(1, 2), used}, []netip.AddrPort{at(1, 2)}},
		"that alone":                                {used, []Candidate{relayed(1, 2)}, []netip.AddrPort{at(1, 2)}},
		"its former one":                            {used, []Candidate{used, relayed(1, 2)}, nil},
		"its address on another relay":              {used, []Candidate{relayed(2, 1), used}, nil},
		"another port of a direct path":             {usedDirectly, []Candidate{{Addr: at(1, 2), Rank: 5}, usedDirectly}, nil},
		"a new relayed address beside a direct one": {usedDirectly, []Candidate{relayed(1, 2), usedDirectly}, nil},
		"a direct one":                              {used, []Candidate{used, {Addr: at(3, 1), Rank: 4}}, []netip.AddrPort{at(3, 1)}},
	} {
		p := New(true, &Budget{})
		now := epoch
		p.SetCandidates(now, []Candidate{tt.used})
		p.Session(now, tt.used.Addr)
		now = now.Add(20 * time.Second)
		p.SetCandidates(now, tt.others)
		if got := tried(p, now, tt.used.Addr); !slices.Equal(got, tt.want) {
			t.Errorf("%s: tried %v, want %v", name, got, tt.want)
		}
	}
}

// tried returns the other addresses that get initiations in a while. The path in use works.
func tried(p *Peer, now time.Time, used netip.AddrPort) (out []netip.AddrPort) {
	for range 25 * 10 {
		now = now.Add(100 * time.Millisecond)
		acts, _ := p.Step(now, Observed{Heard: now})
		for _, a := range acts {
			if a.Do != Initiate && a.Do != Restart {
				continue
			}
			for _, c := range p.Made(now, false) {
				if c.Do == Copy && c.To != used {
					out = append(out, c.To)
				}
			}
		}
	}
	return out
}

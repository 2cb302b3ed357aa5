package path

import (
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

package kubernetes

import (
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = time.Second
	maxBackoff   = time.Minute
)

// backoff computes waits between failures in a row. The zero value has seen none.
type backoff struct{ base time.Duration }

// next returns how long to wait after one more failure: the base, which grows by half each
// time, plus or minus 50 %, at most a minute.
func (b *backoff) next() time.Duration {
	if b.base == 0 {
		b.base = firstBackoff
	}
	wait := time.Duration(float64(b.base) * (0.5 + rand.Float64()))
	b.base = min(b.base*3/2, maxBackoff)
	return min(wait, maxBackoff)
}

package load

import (
	"context"
	"math"
	"time"
)

const (
	searchLoss   = 0.005 // a rate is good if its loss is lower
	searchSteps  = 10
	searchExact  = 1.04 // the search ends when bad/good is lower
	searchLowest = 1e6  // bit/s
)

// search finds the highest rate that a network carries. It first offers as much as
// can be sent.
type search struct {
	good, bad float64 // the highest good and the lowest bad rate offered, bit/s; 0: none yet
	best      float64 // the highest rate received of a good offer
	offer     float64 // the last offer; 0: no limit
	steps     int
}

// saw records the outcome of the last offer and returns the next one. ok is false
// at the end of the search.
func (s *search) saw(offered, received, loss float64) (next float64, ok bool) {
	s.steps++
	if loss < searchLoss {
		s.good, s.best = max(s.good, offered), max(s.best, received)
		if s.offer == 0 {
			return 0, false // everything that can be sent arrives
		}
	} else if s.bad == 0 || offered < s.bad {
		s.bad = offered
	}
	switch {
	case s.steps == searchSteps || s.good > 0 && s.bad/s.good < searchExact:
		return 0, false
	case s.good > 0:
		s.offer = math.Sqrt(s.good * s.bad)
	case s.steps == 1:
		s.offer = received * 0.8 // an overload lowers what arrives
	default:
		s.offer /= 2
	}
	return s.offer, s.offer >= searchLowest
}

// MaxUDP finds the highest rate of datagrams with a loss under 0.5 %, and returns
// the rate received, in bit/s of payload. It returns 0 if even the lowest rate has
// more loss. Each rate is tried for the time step.
func (c *Client) MaxUDP(ctx context.Context, payload int, step time.Duration) (float64, error) {
	var s search
	for offer, ok := 0.0, true; ok; {
		r, err := c.UDP(ctx, UDP{Payload: payload, Duration: step, Rate: offer})
		if err != nil {
			return 0, err
		}
		offered := float64(r.Sent) * float64(payload) * 8 / step.Seconds()
		offer, ok = s.saw(offered, r.Rate, r.Loss())
	}
	return s.best, nil
}

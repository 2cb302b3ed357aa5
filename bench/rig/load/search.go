package load

import (
	"context"
	"math"
	"time"
)

const (
	searchLoss   = 0.005 // the highest loss that counts as none
	searchSteps  = 10
	searchExact  = 1.04 // good and bad rate this close end the search
	searchLowest = 1e6  // bit/s
)

// search looks for the highest rate that a network carries. Its first question
// is what arrives of everything that can be sent.
type search struct {
	good, bad float64 // rates offered, bit/s; zero: none yet
	best      float64 // what arrived of good
	offer     float64 // asked last; 0: no limit
	steps     int
}

// saw takes the outcome of the last offer and returns the next; ok is false
// when there is none.
func (s *search) saw(offered, received, loss float64) (next float64, ok bool) {
	s.steps++
	if loss < searchLoss {
		s.good, s.best = max(s.good, offered), max(s.best, received)
		if s.offer == 0 {
			return 0, false // all that can be sent arrives
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
		s.offer = received * 0.8 // an overload costs more than it carries
	default:
		s.offer /= 2
	}
	return s.offer, s.offer >= searchLowest
}

// MaxUDP searches the highest rate of datagrams with a loss under 0.5 %, and
// returns what arrived at it in bit/s of payload: 0 if even a trickle is lost.
// One step takes step.
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

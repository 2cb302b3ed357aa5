package e2e

import (
	"fmt"
	"time"
)

// edgeClock returns a scenario that boots a box at a wrong time, and then at the right one.
func edgeClock(wrong func(now time.Time) time.Time) func(*edgeLab, edgeMachine) {
	return func(l *edgeLab, m edgeMachine) {
		b := l.box(m).boot(fmt.Sprint("DATE=", wrong(time.Now()).Unix()))
		b.joins()
		b.carries()
		b.Logf("the box at the wrong time:\n%s", b.runs("date; wirespan status; grep -e WARN -e ERROR /tmp/log || true"))
		b.stops()
		b.cut()
		b.boot()
		b.up()
		b.meets()
		b.carries()
		b.Logf("the box at the right time:\n%s", b.runs("date; wirespan status; grep -e WARN -e ERROR /tmp/log || true"))
		s, err := b.status()
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range s.Conditions {
			if c.Type == "ClockBehind" {
				b.Errorf("the clock is right, and the status says: %s", c.Message)
			}
		}
	}
}

// epoch is the time of a box without a battery.
func epoch(time.Time) time.Time { return time.Unix(60, 0) }

// tenYearsAhead is the time of a box with a wrong one.
func tenYearsAhead(now time.Time) time.Time { return now.AddDate(10, 0, 0) }

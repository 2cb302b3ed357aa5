package rig

import (
	"fmt"
	"maps"
	"time"

	"github.com/wirespan/wirespan/bench"
)

// Progress says what runs.
type Progress struct {
	Run, Runs int // this repetition, from 1, of how many
	Subject   string
	What      string // metric or step under way; empty: the subject's run has ended
	Error     string // why it ended early
	Left      time.Duration
}

// event is what an engine tells its caller. One field is set.
type event struct {
	Subjects []bench.Subject    `json:",omitempty"` // all of them, or one that has changed
	Progress *Progress          `json:",omitempty"`
	Started  *bench.Run         `json:",omitempty"`
	Values   map[string]float64 `json:",omitempty"` // of the run that has started
	Ended    *runEnd            `json:",omitempty"`
	Offloads map[string]bool    `json:",omitempty"`
	Finished *string            `json:",omitempty"` // the last one; an error, or empty
}

// runEnd is the end of a run.
type runEnd struct {
	Error string
	Steal float64
}

// collector makes a report of events, so that what was measured is there
// whenever they stop coming.
type collector struct {
	report  *bench.Report
	current *bench.Run // nil between runs
}

func (c *collector) take(e event) {
	for _, s := range e.Subjects {
		c.subject(s)
	}
	if e.Offloads != nil {
		c.report.Machine.Offloads = e.Offloads
	}
	if e.Started != nil {
		run := *e.Started
		run.Values = make(map[string]float64)
		c.current = &run
	}
	if c.current == nil {
		return
	}
	maps.Copy(c.current.Values, e.Values)
	if e.Ended != nil {
		c.current.Steal = e.Ended.Steal
		c.finish(e.Ended.Error)
	}
}

func (c *collector) subject(s bench.Subject) {
	for i := range c.report.Subjects {
		if c.report.Subjects[i].Name == s.Name {
			c.report.Subjects[i] = s
			return
		}
	}
	c.report.Subjects = append(c.report.Subjects, s)
}

// finish ends the current run, if there is one.
func (c *collector) finish(reason string) {
	if c.current == nil {
		return
	}
	c.current.Error = reason
	c.report.Runs = append(c.report.Runs, *c.current)
	c.current = nil
}

// failures names the subjects that failed; nil if none did.
func failures(r *bench.Report) error {
	var first error
	for _, s := range r.Subjects {
		if s.Failed != "" && first == nil {
			first = fmt.Errorf("%s: %s", s.Name, s.Failed)
		}
	}
	return first
}

// clock tells how much time is left of a benchmark whose steps take about as
// long as estimated.
type clock struct {
	started     time.Time
	done, total time.Duration // estimated
}

func (c *clock) left(now time.Time) time.Duration {
	left := c.total - c.done
	if c.done > c.total/20 { // enough has been seen to know better
		left = time.Duration(float64(left) * float64(now.Sub(c.started)) / float64(c.done))
	}
	return max(0, left).Round(time.Second)
}

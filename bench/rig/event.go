package rig

import (
	"fmt"
	"maps"
	"time"

	"github.com/wirespan/wirespan/bench"
)

// Progress describes the step that a benchmark begins, or the end of a run.
type Progress struct {
	Run, Runs int // this repetition, from 1, and their number
	Subject   string
	What      string        // metric or step that begins; empty: the run has ended
	Error     string        // why the run ended early
	Left      time.Duration // estimate of the remaining time
}

// event is a message of the engine to its caller. One field is set.
type event struct {
	Subjects []bench.Subject    `json:",omitempty"` // all entries, or one that has changed
	Progress *Progress          `json:",omitempty"`
	Started  *bench.Run         `json:",omitempty"`
	Values   map[string]float64 `json:",omitempty"` // of the current run
	Ended    *runEnd            `json:",omitempty"`
	Offloads map[string]bool    `json:",omitempty"`
	Finished *string            `json:",omitempty"` // the last event: an error, or empty
}

// runEnd is the end of a run.
type runEnd struct {
	Error string
	Steal float64
}

// collector adds events to a report, which is therefore valid whenever they stop.
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

// finish ends the current run, if there is one, and adds it to the report.
func (c *collector) finish(reason string) {
	if c.current == nil {
		return
	}
	c.current.Error = reason
	c.report.Runs = append(c.report.Runs, *c.current)
	c.current = nil
}

// failures returns an error with the first subject that failed, or nil.
func failures(r *bench.Report) error {
	var first error
	for _, s := range r.Subjects {
		if s.Failed != "" && first == nil {
			first = fmt.Errorf("%s: %s", s.Name, s.Failed)
		}
	}
	return first
}

// clock estimates the remaining time of a benchmark.
type clock struct {
	started     time.Time
	done, total time.Duration // estimates of the steps that are done, and of all
}

func (c *clock) left(now time.Time) time.Duration {
	left := c.total - c.done
	if c.done > c.total/20 { // enough to correct the estimate by the time really taken
		left = time.Duration(float64(left) * float64(now.Sub(c.started)) / float64(c.done))
	}
	return max(0, left).Round(time.Second)
}

package rig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wirespan/wirespan/bench"
)

// closeTime is how long an agent may take to end by itself.
const closeTime = 2 * time.Second

// round is one run of one subject: it creates a network and does all measurements.
type round struct {
	*engine
	subject *subject
	entry   *bench.Subject // of the report
	index   int
	list    []measure
	a, b    *peerAgent
}

// run does the run. After an error the subject is not measured again.
func (r *round) run(ctx context.Context) error {
	r.progress("setting up", "")
	noise, busy, err := startNoise(ctx)
	if err != nil {
		return rigError{err}
	}
	started := time.Now()
	err = r.open(ctx)
	defer r.close()
	var absent absentError
	if errors.As(err, &absent) {
		r.entry.Skipped = absent.Error()
		r.emit(event{Subjects: []bench.Subject{*r.entry}})
		r.progress("", "skipped: "+absent.Error())
		return err
	}
	var broken rigError
	if errors.As(err, &broken) {
		return err
	}
	r.emit(event{Started: &bench.Run{Index: r.index, Subject: r.subject.name, Started: started, Busy: busy}})
	if err == nil {
		err = r.measure()
	}
	end := runEnd{Steal: noise.steal()}
	if err != nil {
		end.Error = err.Error()
		r.entry.Failed = end.Error
		r.emit(event{Subjects: []bench.Subject{*r.entry}})
	}
	r.emit(event{Ended: &end})
	r.progress("", end.Error)
	return err
}

func (r *round) progress(what, problem string) {
	r.emit(event{Progress: &Progress{
		Run: r.index + 1, Runs: r.cfg.Options.Runs, Subject: r.subject.name, What: what, Error: problem,
		Left: r.clock.left(time.Now()),
	}})
}

// measure does all measurements in r.list.
func (r *round) measure() error {
	resp, err := r.b.call(request{Serve: &r.b.opened.Address})
	if err != nil {
		return err
	}
	o := &r.cfg.Options
	ask := measureRequest{Server: resp.Served, Congestion: o.Congestion, Timing: timing{o.Duration, r.a.opened.MTU}}
	if selected(o, "mtu") {
		r.emit(event{Values: map[string]float64{"mtu": float64(r.a.opened.MTU)}})
	}
	for _, m := range r.list {
		r.progress(m.ids()[0], "")
		ask.Measure = m
		values, err := r.measureOne(ask)
		if err != nil {
			// If the far end has died, this end only saw a broken connection.
			if _, died := r.b.call(request{Alive: true}); died != nil {
				err = died
			}
			return fmt.Errorf("%s: %w", m.ids()[0], err)
		}
		r.emit(event{Values: values})
		r.clock.done += m.estimate(o.Duration)
	}
	return r.measureMemory()
}

// measureOne does one measurement, and adds its CPU cost where m asks for it.
func (r *round) measureOne(ask measureRequest) (map[string]float64, error) {
	var before [2]usage
	var err error
	for i, p := range []*peerAgent{r.a, r.b} {
		if before[i], err = usageOf(p.opened.PIDs); err != nil {
			return nil, err
		}
	}
	resp, err := r.a.call(request{Measure: &ask})
	if err != nil {
		return nil, err
	}
	values := resp.Outcome.Values
	if ask.Measure.Cost && resp.Outcome.Bytes > 0 {
		for i, p := range []*peerAgent{r.a, r.b} {
			if len(p.opened.PIDs) == 0 {
				continue
			}
			u, err := usageOf(p.opened.PIDs)
			if err != nil {
				return nil, err
			}
			u = u.since(before[i])
			values[cpuIDs[2*i]] = perGB(u.user, resp.Outcome.Bytes)
			values[cpuIDs[2*i+1]] = perGB(u.system, resp.Outcome.Bytes)
		}
	}
	for id := range values {
		if !selected(&r.cfg.Options, id) {
			delete(values, id)
		}
	}
	return values, nil
}

// measureMemory reads the peaks of the whole run.
func (r *round) measureMemory() error {
	values := make(map[string]float64)
	for i, p := range []*peerAgent{r.a, r.b} {
		id := []string{"rss.client", "rss.server"}[i]
		if len(p.opened.PIDs) == 0 || !selected(&r.cfg.Options, id) {
			continue
		}
		u, err := usageOf(p.opened.PIDs)
		if err != nil {
			return err
		}
		values[id] = float64(u.peak)
	}
	r.emit(event{Values: values})
	return nil
}

// close ends both agents, which end everything else of this run.
func (r *round) close() {
	agents := slices.DeleteFunc([]*peerAgent{r.a, r.b}, func(p *peerAgent) bool { return p == nil })
	for _, p := range agents {
		_ = p.conn.Close()
	}
	for _, p := range agents {
		select {
		case <-p.exited:
		case <-time.After(closeTime):
			p.kill()
		}
		p.stop()
	}
}

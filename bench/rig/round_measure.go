package rig

import (
	"fmt"
)

// measure does all measurements of the list.
func (r *round) measure() error {
	resp, err := r.b.call(request{Serve: &r.b.opened.Address})
	if err != nil {
		return err
	}
	o := &r.cfg.Options
	ask := measureRequest{Server: resp.Served, Congestion: o.Congestion, Timing: timing{o.Duration, r.a.opened.MTU}}
	if wanted(o, "mtu") {
		r.emit(event{Values: map[string]float64{"mtu": float64(r.a.opened.MTU)}})
	}
	for _, m := range r.list {
		r.progress(m.ids()[0], "")
		ask.Measure = m
		values, err := r.one(ask)
		if err != nil {
			// If the far end has died, this end only sees a broken connection.
			if _, died := r.b.call(request{Alive: true}); died != nil {
				err = died
			}
			return fmt.Errorf("%s: %w", m.ids()[0], err)
		}
		r.emit(event{Values: values})
		r.clock.done += m.estimate(o.Duration)
	}
	return r.memory()
}

// one does one measurement, with what it cost.
func (r *round) one(ask measureRequest) (map[string]float64, error) {
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
		if !wanted(&r.cfg.Options, id) {
			delete(values, id)
		}
	}
	return values, nil
}

// memory takes the peaks of the whole run.
func (r *round) memory() error {
	values := make(map[string]float64)
	for i, p := range []*peerAgent{r.a, r.b} {
		id := []string{"rss.client", "rss.server"}[i]
		if len(p.opened.PIDs) == 0 || !wanted(&r.cfg.Options, id) {
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

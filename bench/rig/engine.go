package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/bench"
)

const (
	// quietTime is how long the machine is watched before a run.
	quietTime = 250 * time.Millisecond
	// setupTime is about what a run takes beside its measurements.
	setupTime = 800 * time.Millisecond
)

// engine runs the subjects. In a process of its own it may also use files.
type engine struct {
	cfg   Config
	emit  func(event)
	dir   string // of files, for drivers; empty without root
	clock clock
}

// serveEngine is the process of an engine with root.
func serveEngine(ctx context.Context, w *wire) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e := &engine{emit: func(ev event) { _ = w.enc.Encode(ev) }} // a caller that is gone kills it
	if err := w.dec.Decode(&e.cfg); err != nil {
		return fmt.Errorf("hear what to benchmark: %w", err)
	}
	go func() {
		var nothing struct{}
		_ = w.dec.Decode(&nothing) // the caller says no more, until it ends
		cancel()
	}()
	var text string
	err := e.isolate()
	if err == nil {
		err = e.run(ctx)
	}
	if err != nil {
		text = err.Error()
	}
	return w.enc.Encode(event{Finished: &text})
}

// isolate gives this process, whose namespaces are new, a /proc of its own, and
// a /run that nobody else sees: the only place where files are made.
func (e *engine) isolate() error {
	if os.Getpid() != 1 {
		return errors.New("the benchmark's engine is not in a namespace of its own")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separate the mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	run, err := filepath.EvalSymlinks(filepath.Dir(upstreamSockets))
	if err != nil {
		return fmt.Errorf("a directory for files: %w", err)
	}
	if err := unix.Mount("tmpfs", run, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64m"); err != nil {
		return fmt.Errorf("mount %s: %w", run, err)
	}
	e.dir = filepath.Join(run, "wirespan-bench")
	return nil
}

// run measures all subjects in turn, again and again.
func (e *engine) run(ctx context.Context) error {
	all, err := catalog(&e.cfg)
	if err != nil {
		return err
	}
	chosen, err := choose(&e.cfg)
	if err != nil {
		return err
	}
	o := &e.cfg.Options
	list := measures(o, true)
	one := setupTime + quietTime
	for _, m := range list {
		one += m.estimate(o.Duration)
	}
	out := make([]bool, len(chosen)) // skipped or failed
	for i := range chosen {
		out[i] = chosen[i].Skipped != ""
	}
	e.clock = clock{started: time.Now(), total: time.Duration(o.Runs*remaining(out)) * one}
	for index := range o.Runs {
		for i := range chosen {
			if out[i] {
				continue
			}
			r := &round{engine: e, subject: find(all, chosen[i].Name), about: &chosen[i], index: index, list: list}
			planned := e.clock.done + one
			err := r.run(ctx)
			e.clock.done = planned
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			var broken rigError
			if errors.As(err, &broken) {
				return err
			}
			if out[i] = err != nil; out[i] {
				e.clock.total -= time.Duration(o.Runs-index-1) * one
			}
		}
	}
	return nil
}

func remaining(out []bool) int {
	n := 0
	for _, o := range out {
		if !o {
			n++
		}
	}
	return n
}

// rigError is one that no subject is to blame for: it ends the benchmark.
type rigError struct{ error }

func (e rigError) Unwrap() error { return e.error }

// noise is how busy the machine was and how much was stolen from it.
type noise struct{ before bench.CPUTimes }

// listen watches the machine for a while.
func listen(ctx context.Context) (n noise, busy float64, err error) {
	if n.before, err = bench.ReadCPU(); err != nil {
		return n, 0, err
	}
	t := time.NewTimer(quietTime)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return n, 0, context.Cause(ctx)
	case <-t.C:
	}
	now, err := bench.ReadCPU()
	if err != nil {
		return n, 0, err
	}
	busy, _ = now.Since(n.before)
	return n, busy, nil
}

// steal since the watching began.
func (n noise) steal() float64 {
	now, err := bench.ReadCPU()
	if err != nil {
		return 0
	}
	_, steal := now.Since(n.before)
	return steal
}

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
	// quietTime is how long the background load is measured before a run.
	quietTime = 250 * time.Millisecond
	// setupTime is how long a run takes beside its measurements, roughly.
	setupTime = 800 * time.Millisecond
)

// engine runs the subjects of a local benchmark.
type engine struct {
	cfg   Config
	emit  func(event)
	dir   string // where drivers put files; empty without root
	clock clock
}

// serveEngine is the body of the engine's process. It reads the Config, and sends
// events until the last, which is Finished.
func serveEngine(ctx context.Context, w *wire) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e := &engine{emit: func(ev event) { _ = w.enc.Encode(ev) }} // if the caller has ended, the kernel kills this process
	if err := w.dec.Decode(&e.cfg); err != nil {
		return fmt.Errorf("read the benchmark's configuration: %w", err)
	}
	go func() {
		var nothing struct{}
		_ = w.dec.Decode(&nothing) // the caller sends nothing more: it returns when the caller ends
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

// isolate mounts a /proc and a /run of its own for this process, whose namespaces
// are new. All files are created in that /run, which other processes don't see.
func (e *engine) isolate() error {
	if os.Getpid() != 1 {
		return errors.New("the benchmark's engine is not the first process of a new namespace")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	run, err := filepath.EvalSymlinks(filepath.Dir(upstreamSockets))
	if err != nil {
		return fmt.Errorf("find a directory for files: %w", err)
	}
	if err := unix.Mount("tmpfs", run, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64m"); err != nil {
		return fmt.Errorf("mount %s: %w", run, err)
	}
	e.dir = filepath.Join(run, "wirespan-bench")
	return nil
}

// run measures all subjects in turn, once per repetition.
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
	out := make([]bool, len(chosen)) // subjects that were skipped or have failed
	e.clock.started = time.Now()
	for i := range chosen {
		if out[i] = chosen[i].Skipped != ""; !out[i] {
			e.clock.total += time.Duration(o.Runs) * find(all, chosen[i].Name).estimate(o)
		}
	}
	for index := range o.Runs {
		for i := range chosen {
			if out[i] {
				continue
			}
			s := find(all, chosen[i].Name)
			one := s.estimate(o)
			r := &round{engine: e, subject: s, entry: &chosen[i], index: index, list: measures(o, !s.streams)}
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

// estimate returns how long one run of the subject takes, roughly.
func (s *subject) estimate(o *bench.Options) time.Duration {
	d := setupTime + quietTime
	for _, m := range measures(o, !s.streams) {
		d += m.estimate(o.Duration)
	}
	return d
}

// rigError is a failure of the rig and not of a subject. It ends the benchmark.
type rigError struct{ error }

func (e rigError) Unwrap() error { return e.error }

// noise measures the background load and the steal time of the machine.
type noise struct{ before bench.CPUTimes }

// startNoise measures the share of all cores that is busy, for quietTime. The
// noise that it returns measures steal time from then on.
func startNoise(ctx context.Context) (n noise, busy float64, err error) {
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

// steal returns the share of processor time that was stolen since startNoise.
func (n noise) steal() float64 {
	now, err := bench.ReadCPU()
	if err != nil {
		return 0
	}
	_, steal := now.Since(n.before)
	return steal
}

package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/bench"
)

// errInterrupted comes with a report that holds what was measured until the
// context was cancelled.
var errInterrupted = errors.New("interrupted")

// Local benchmarks subjects on this machine. It calls progress, which may be nil,
// at every step. With an error it returns what was measured so far; the report is
// nil only if the benchmark could not start.
func Local(ctx context.Context, c Config, progress func(Progress)) (*bench.Report, error) {
	if err := checkOptions(&c.Options); err != nil {
		return nil, err
	}
	if c.Unprivileged && (c.Options.RTT > 0 || c.Options.Loss > 0) {
		return nil, errors.New("delay and loss need network namespaces: they do not work with --unprivileged")
	}
	if !c.Unprivileged && os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root: run as root, or with --unprivileged for the netstack subjects over loopback")
	}
	subjects, err := choose(&c)
	if err != nil {
		return nil, err
	}
	report := &bench.Report{
		Schema: bench.Schema, Kind: bench.KindLocal, Started: time.Now(), Command: c.Command,
		Machine: bench.ReadMachine(), Options: c.Options, Subjects: subjects,
	}
	report.Machine.Version = c.Version
	report.Machine.CryptoPath = cryptoPath()
	collect := &collector{report: report}
	err = drive(ctx, c, func(e event) {
		collect.take(e)
		if e.Progress != nil && progress != nil {
			progress(*e.Progress)
		}
	})
	if ctx.Err() != nil {
		err = errInterrupted
	}
	if err != nil {
		collect.finish(err.Error())
	} else {
		report.Finished = time.Now()
		err = failures(report)
	}
	report.Base = base(&c, report)
	report.Notes = notes(&c)
	return report, err
}

// drive runs the engine and passes its events to emit. It returns when the engine
// and all its processes have ended.
func drive(ctx context.Context, c Config, emit func(event)) error {
	if c.Unprivileged {
		e := &engine{cfg: c, emit: emit}
		return e.run(ctx)
	}
	const isolated = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
	child, err := spawn(c.Self, roleEngine, isolated, nil)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("create namespaces: %w: this machine or container does not allow it; use --unprivileged", errors.Unwrap(err))
	}
	if err != nil {
		return err
	}
	defer child.kill() // it is the first process of its namespace: the others end with it
	stop := context.AfterFunc(ctx, func() { _ = child.cmd.Process.Kill() })
	defer stop()
	if err := child.enc.Encode(c); err != nil {
		return fmt.Errorf("start the benchmark: %w", err)
	}
	for {
		var e event
		if err := child.dec.Decode(&e); err != nil {
			<-child.exited
			return child.err
		}
		if e.Finished != nil {
			if *e.Finished != "" {
				return errors.New(*e.Finished)
			}
			return nil
		}
		emit(e)
	}
}

// base returns the subject that ratios refer to: the one in c, or else the first
// of upstream's program, upstream's netstack and raw that has run, or else the
// subject of the first run.
func base(c *Config, r *bench.Report) string {
	if c.Base != "" {
		return c.Base
	}
	for _, name := range []string{subjectUpstream, subjectUpstreamNet, subjectRaw} {
		if slices.ContainsFunc(r.Runs, func(run bench.Run) bool { return run.Subject == name }) {
			return name
		}
	}
	if len(r.Runs) > 0 {
		return r.Runs[0].Subject
	}
	return ""
}

// notes returns what a reader of the figures must know.
func notes(c *Config) []string {
	n := []string{
		"TCP congestion control of kernel connections: " + c.Options.Congestion + "; netstacks use their own.",
		"CPU time and memory count the subject's processes; for netstacks and raw they include the load generator. CPU per GB is taken over the first test of streams up.",
		"Round trips are measured by probes on TCP, one every millisecond; a lost probe arrives late.",
	}
	if c.Unprivileged {
		n = append(n, "Over loopback: both ends share one network, whose MTU is not the underlay MTU of the options.")
	}
	return n
}

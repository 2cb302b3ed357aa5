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

// errInterrupted says that a report is of what was measured until an
// interruption.
var errInterrupted = errors.New("interrupted")

// Local benchmarks subjects on this machine. progress is called with every
// step. The report is there even with an error, as far as it got; it is nil
// only when nothing could be begun.
func Local(ctx context.Context, c Config, progress func(Progress)) (*bench.Report, error) {
	if err := checkOptions(&c.Options); err != nil {
		return nil, err
	}
	if c.Unprivileged && (c.Options.RTT > 0 || c.Options.Loss > 0) {
		return nil, errors.New("delay and loss need a network of their own: they can't be had with --unprivileged")
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

// drive runs the engine, and passes on what it tells. It returns when the
// engine, and all that it began, has ended.
func drive(ctx context.Context, c Config, emit func(event)) error {
	if c.Unprivileged {
		e := &engine{cfg: c, emit: emit}
		return e.run(ctx)
	}
	const isolated = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
	child, err := spawn(c.Self, roleEngine, isolated, nil)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("make namespaces: %w: this machine or container does not allow it; use --unprivileged", errors.Unwrap(err))
	}
	if err != nil {
		return err
	}
	defer child.kill() // the first process of its namespace: all others end with it
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

// base is the subject that ratios refer to: the one asked for, or the first of
// those one would compare with that has run.
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

// notes say what a reader of the figures must know.
func notes(c *Config) []string {
	n := []string{
		"TCP congestion control of kernel connections: " + c.Options.Congestion + "; a netstack has its own.",
		"CPU time and memory are the subject's processes; for netstack and raw they include the load generator. CPU per GB is taken over the first test of streams up.",
		"Round trips are probes on TCP, one every millisecond; one that is lost comes late.",
	}
	if c.Unprivileged {
		n = append(n, "Over loopback: both ends share one network, its MTU is not the underlay's.")
	}
	return n
}

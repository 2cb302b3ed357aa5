package rig

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wirespan/wirespan/bench"
	"github.com/wirespan/wirespan/bench/rig/load"
)

// Bounds of options.
const (
	maxRuns     = 100
	minDuration = 50 * time.Millisecond
	maxDuration = 30 * time.Second
	maxStreams  = 128
	maxRTT      = 2 * time.Second
	maxLoss     = 0.5
	minMTU      = 576
	maxMTU      = 9200
)

// DefaultOptions returns options that measure everything. Five subjects take less
// than 10 minutes. They leave TCP congestion control open: it becomes cubic if
// this process may choose it, and else the system's default.
func DefaultOptions() bench.Options {
	return bench.Options{
		Runs: 3, Duration: time.Second, Streams: []int{1, 4, 32}, Payloads: []int{64, 512, 0},
		UnderlayMTU: 1500,
	}
}

// Config describes a benchmark.
type Config struct {
	Options      bench.Options
	Subjects     []string // in this order; empty: all but those that are special
	WireGuardGo  string   // upstream's program; empty: wireguard-go on PATH
	Drivers      []string // paths of files that describe further subjects
	Base         string   // the subject that ratios refer to; empty: see base
	Unprivileged bool     // no namespaces: both ends on loopback
	Command      []string // for the report
	Version      string   // of this program
	// Self is the command that runs Child. A role is appended to it.
	Self []string
}

// preferredCongestion is the congestion control that most hosts use.
const preferredCongestion = "cubic"

// checkOptions checks o, and sets the congestion control if it is empty.
func checkOptions(o *bench.Options) error {
	if o.Congestion == "" {
		o.Congestion = preferredCongestion
		if !load.CongestionAllowed(o.Congestion) {
			o.Congestion = bench.ReadMachine().TCPCongestion
		}
	}
	switch {
	case o.Runs < 1 || o.Runs > maxRuns:
		return fmt.Errorf("runs: %d is not between 1 and %d", o.Runs, maxRuns)
	case o.Duration < minDuration || o.Duration > maxDuration:
		return fmt.Errorf("duration: %s is not between %s and %s", o.Duration, minDuration, maxDuration)
	case o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU):
		return fmt.Errorf("MTU: %d is not between %d and %d", o.MTU, minMTU, maxMTU)
	case o.UnderlayMTU < minMTU || o.UnderlayMTU > maxMTU:
		return fmt.Errorf("underlay MTU: %d is not between %d and %d", o.UnderlayMTU, minMTU, maxMTU)
	case o.RTT < 0 || o.RTT > maxRTT:
		return fmt.Errorf("RTT: %s is not between 0 and %s", o.RTT, maxRTT)
	case o.Loss < 0 || o.Loss > maxLoss:
		return fmt.Errorf("loss: %g is not between 0 and %g", o.Loss, maxLoss)
	case o.GOMAXPROCS < 0 || o.GOMAXPROCS > 1024:
		return fmt.Errorf("GOMAXPROCS: %d is not between 0 and 1024", o.GOMAXPROCS)
	case !isName(o.Congestion):
		return fmt.Errorf("TCP congestion control: %.20q is not a name", o.Congestion)
	}
	return checkLists(o)
}

func checkLists(o *bench.Options) error {
	for _, n := range o.Streams {
		if n < 1 || n > maxStreams {
			return fmt.Errorf("streams: %d is not between 1 and %d", n, maxStreams)
		}
	}
	for _, n := range o.Payloads {
		if n != 0 && (n < 16 || n > 65507) {
			return fmt.Errorf("payload: %d is not between 16 and 65507 bytes, nor 0 to fill the MTU", n)
		}
	}
	if len(o.Streams) == 0 || len(o.Payloads) == 0 {
		return errors.New("streams and payloads: at least one of each is needed")
	}
	for _, want := range o.Metrics {
		if !slices.ContainsFunc(allIDs(o), func(id string) bool { return matches(id, want) }) {
			return fmt.Errorf("unknown metric %.60q; known metrics: %s", want, strings.Join(allIDs(o), ", "))
		}
	}
	return nil
}

// isName reports whether s may be the kernel's name of a congestion control.
func isName(s string) bool {
	return len(s) > 0 && len(s) < 16 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// matches reports whether want names the metric or a group that it is in.
func matches(id, want string) bool { return id == want || strings.HasPrefix(id, want+".") }

// selected reports whether the options ask for a metric.
func selected(o *bench.Options, id string) bool {
	return len(o.Metrics) == 0 || slices.ContainsFunc(o.Metrics, func(w string) bool { return matches(id, w) })
}

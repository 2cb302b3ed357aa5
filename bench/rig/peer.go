package rig

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/wirespan/wirespan/bench"
	"github.com/wirespan/wirespan/bench/rig/load"
)

// Target is a path to the server at the far end. It is a subject of a benchmark
// between two machines.
type Target struct {
	Name, Description string
	Dial              load.Dialer
	Server            netip.AddrPort
	MTU               int  // 0: the MTU of the link that connections leave by
	UDP               bool // the path carries datagrams, too
}

// Peer benchmarks targets in turn, from this end. CPU and memory are measured in
// local benchmarks only. With an error it returns what was measured so far; the
// report is nil only if the benchmark could not start.
func Peer(ctx context.Context, c Config, targets []Target, progress func(Progress)) (*bench.Report, error) {
	if err := checkOptions(&c.Options); err != nil {
		return nil, err
	}
	r := &bench.Report{
		Schema: bench.Schema, Kind: bench.KindRun, Started: time.Now(), Command: c.Command,
		Machine: bench.ReadMachine(), Options: c.Options, Base: targets[len(targets)-1].Name,
		Notes: []string{
			"TCP congestion control of kernel connections: " + c.Options.Congestion + "; netstacks use their own.",
			"Round trips are measured by probes on TCP, one every millisecond; a lost probe arrives late.",
		},
	}
	r.Machine.Version, r.Machine.CryptoPath = c.Version, cryptoPath()
	collect := &collector{report: r}
	p := &peerRun{cfg: &c, collect: collect, progress: progress}
	for i := range targets {
		t := &targets[i]
		if t.MTU == 0 {
			mtu, err := routeMTU(ctx, t)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.Name, err)
			}
			t.MTU = mtu
		}
		collect.subject(bench.Subject{Name: t.Name, Description: t.Description, Version: c.Version, TunnelMTU: t.MTU})
		p.clock.total += time.Duration(c.Options.Runs) * p.estimate(t)
	}
	p.clock.started = time.Now()
	for index := range c.Options.Runs {
		for i := range targets {
			if r.Subjects[i].Failed != "" {
				continue
			}
			if err := p.round(ctx, &targets[i], index); err != nil && ctx.Err() == nil {
				r.Subjects[i].Failed = err.Error()
			}
			if ctx.Err() != nil {
				return r, errInterrupted
			}
		}
	}
	r.Finished = time.Now()
	return r, failures(r)
}

// routeMTU returns the MTU of the link that connections to the target leave by.
func routeMTU(ctx context.Context, t *Target) (int, error) {
	conn, err := t.Dial(ctx, "tcp", t.Server)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return 0, fmt.Errorf("local address: %w", err)
	}
	return linkMTU(local.Addr().Unmap())
}

// peerRun is a benchmark between two machines that is running.
type peerRun struct {
	cfg      *Config
	collect  *collector
	progress func(Progress)
	clock    clock
}

// list returns the measurements of a target. The handshake is not among them,
// since the session is up already.
func (p *peerRun) list(t *Target) []measure {
	return slices.DeleteFunc(measures(&p.cfg.Options, t.UDP), func(m measure) bool { return m.Kind == kindHandshake })
}

func (p *peerRun) estimate(t *Target) time.Duration {
	d := quietTime
	for _, m := range p.list(t) {
		d += m.estimate(p.cfg.Options.Duration)
	}
	return d
}

// round measures one target once.
func (p *peerRun) round(ctx context.Context, t *Target, index int) (err error) {
	at := Progress{Run: index + 1, Runs: p.cfg.Options.Runs, Subject: t.Name}
	noise, busy, err := startNoise(ctx)
	if err != nil {
		return err
	}
	p.collect.take(event{Started: &bench.Run{Index: index, Subject: t.Name, Started: time.Now(), Busy: busy}})
	if selected(&p.cfg.Options, "mtu") {
		p.collect.take(event{Values: map[string]float64{"mtu": float64(t.MTU)}})
	}
	client := &load.Client{Dial: t.Dial, Server: t.Server, Congestion: p.cfg.Options.Congestion}
	for _, m := range p.list(t) {
		at.What, at.Left = m.ids()[0], p.clock.left(time.Now())
		p.progress(at)
		out, measureErr := m.run(ctx, client, timing{p.cfg.Options.Duration, t.MTU})
		if measureErr != nil {
			err = fmt.Errorf("%s: %w", at.What, measureErr)
			at.Error = err.Error()
			break
		}
		for id := range out.Values {
			if !selected(&p.cfg.Options, id) {
				delete(out.Values, id)
			}
		}
		p.collect.take(event{Values: out.Values})
		p.clock.done += m.estimate(p.cfg.Options.Duration)
	}
	if ctx.Err() != nil {
		at.Error = errInterrupted.Error()
	}
	p.collect.take(event{Ended: &runEnd{Error: at.Error, Steal: noise.steal()}})
	at.What = ""
	p.progress(at)
	return err
}

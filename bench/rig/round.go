package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/bench"
	"github.com/wirespan/wirespan/mesh"
)

const (
	portWireGuard = 51820 // in namespaces of its own
	defaultMTU    = mesh.DefaultMTU
	closeTime     = 2 * time.Second // for an agent to end by itself
	overhead      = 80              // of a tunnel over IPv6; the most there is
)

// Addresses of the two ends.
var (
	endA     = ends{netip.AddrFrom4([4]byte{10, 99, 0, 1}), netip.AddrFrom4([4]byte{10, 7, 0, 1})}
	endB     = ends{netip.AddrFrom4([4]byte{10, 99, 0, 2}), netip.AddrFrom4([4]byte{10, 7, 0, 2})}
	loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
)

// round is one run of one subject: a network made for it, and all measurements.
type round struct {
	*engine
	subject *subject
	about   *bench.Subject
	index   int
	list    []measure
	a, b    *peerAgent
}

// peerAgent is the engine's side of an agent.
type peerAgent struct {
	*child
	opened *opened
	stop   func() bool // no longer kill it when the benchmark is interrupted
}

// call asks the agent one thing.
func (p *peerAgent) call(req request) (*response, error) {
	if err := p.enc.Encode(req); err != nil {
		<-p.exited
		return nil, p.err
	}
	var resp response
	if err := p.dec.Decode(&resp); err != nil {
		<-p.exited
		return nil, p.err
	}
	if resp.Error != "" {
		err := errors.New(resp.Error)
		if resp.Absent {
			return nil, absentError{err}
		}
		return nil, err
	}
	return &resp, nil
}

// run measures once. An error means that the subject is out.
func (r *round) run(ctx context.Context) error {
	r.progress("setting up", "")
	noise, busy, err := listen(ctx)
	if err != nil {
		return rigError{err}
	}
	started := time.Now()
	err = r.open(ctx)
	defer r.close()
	var absent absentError
	if errors.As(err, &absent) {
		r.about.Skipped = absent.Error()
		r.emit(event{Subjects: []bench.Subject{*r.about}})
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
		r.about.Failed = end.Error
		r.emit(event{Subjects: []bench.Subject{*r.about}})
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

// open makes the network and brings the subject up at both ends.
func (r *round) open(ctx context.Context) error {
	if err := r.startAgents(ctx); err != nil {
		return rigError{err}
	}
	near, far, err := r.tunnels()
	if err != nil {
		return rigError{err}
	}
	if r.dir != "" {
		if err := errors.Join(os.RemoveAll(r.dir), os.Mkdir(r.dir, 0o700)); err != nil {
			return rigError{err}
		}
	}
	if d := r.subject.driver; d != nil {
		near.External, far.External = d.at(r.place("a")), d.at(r.place("b"))
		if _, err := r.a.call(request{Prepare: near.External}); err != nil {
			return err
		}
	}
	resp, err := r.b.call(request{Open: far})
	if err != nil {
		return err
	}
	r.b.opened = resp.Opened
	near.Tunnel.Peer = netip.AddrPortFrom(far.Tunnel.Underlay, resp.Opened.Port)
	if resp, err = r.a.call(request{Open: near}); err != nil {
		return err
	}
	r.a.opened = resp.Opened
	if r.about.TunnelMTU != resp.Opened.MTU {
		r.about.TunnelMTU = resp.Opened.MTU
		r.emit(event{Subjects: []bench.Subject{*r.about}})
	}
	return nil
}

// startAgents starts both ends, joined by a link where there are namespaces.
func (r *round) startAgents(ctx context.Context) (err error) {
	var flags uintptr
	if !r.cfg.Unprivileged {
		flags = syscall.CLONE_NEWNET
	}
	var env []string
	if n := r.cfg.Options.GOMAXPROCS; n > 0 && r.subject.inside {
		env = append(env, "GOMAXPROCS="+strconv.Itoa(n))
	}
	for _, p := range []**peerAgent{&r.a, &r.b} {
		c, err := spawn(r.cfg.Self, roleAgent, flags, env)
		if err != nil {
			return err
		}
		// It may be in the middle of a measurement, so that it would not hear.
		*p = &peerAgent{child: c, stop: context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })}
	}
	if r.cfg.Unprivileged {
		return nil
	}
	o := &r.cfg.Options
	near := link{Peer: r.b.cmd.Process.Pid, Prefix: netip.PrefixFrom(endA.underlay, 24), MTU: o.UnderlayMTU, Delay: o.RTT / 2, Loss: o.Loss}
	resp, err := r.a.call(request{Link: &near})
	if err != nil {
		return err
	}
	far := near
	far.Peer, far.Prefix = 0, netip.PrefixFrom(endB.underlay, 24)
	if _, err := r.b.call(request{Link: &far}); err != nil {
		return err
	}
	r.emit(event{Offloads: resp.Offloads})
	return nil
}

// tunnels makes keys, and says how both ends open.
func (r *round) tunnels() (near, far *opening, err error) {
	var random [2][mesh.KeySize]byte
	for i := range random {
		_, _ = rand.Read(random[i][:]) // it never fails
	}
	keyA, keyB := mesh.NewPrivateKey(random[0]), mesh.NewPrivateKey(random[1])
	one := opening{Subject: r.subject.name, Self: r.cfg.Self, Procs: r.cfg.Options.GOMAXPROCS}
	if r.subject.name == subjectUpstream {
		if one.Program, err = upstreamProgram(&r.cfg); err != nil {
			return nil, nil, err
		}
	}
	two := one
	one.Tunnel = tunnel{Key: keyA.RevealBase64(), PeerKey: keyB.Public(), Address: endA.tunnel, PeerAddress: endB.tunnel, Underlay: endA.underlay, Interface: "bench-a"}
	two.Tunnel = tunnel{Key: keyB.RevealBase64(), PeerKey: keyA.Public(), Address: endB.tunnel, PeerAddress: endA.tunnel, Underlay: endB.underlay, Interface: "bench-b"}
	for _, t := range []*tunnel{&one.Tunnel, &two.Tunnel} {
		t.MTU = r.mtu()
		if r.cfg.Unprivileged {
			t.Underlay = loopback
		} else {
			t.Port = portWireGuard
		}
	}
	return &one, &two, nil
}

// mtu of the tunnel where the rig decides.
func (r *round) mtu() int {
	if o := &r.cfg.Options; o.MTU != 0 {
		return o.MTU
	}
	return min(defaultMTU, r.cfg.Options.UnderlayMTU-overhead)
}

func (r *round) place(self string) place {
	other := "b"
	if self == "b" {
		other = "a"
	}
	return place{dir: filepath.Join(r.dir, "run"), self: self, other: other, a: endA, b: endB, mtu: r.mtu()}
}

// close ends both agents, and with them all else of this run.
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

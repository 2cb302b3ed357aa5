package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/wirespan/wirespan/bench"
	"github.com/wirespan/wirespan/mesh"
)

const (
	portWireGuard = 51820 // where each end has a namespace
	defaultMTU    = mesh.DefaultMTU
	overhead      = 80 // of WireGuard over IPv6, the largest
)

// Addresses of the two ends.
var (
	endA     = ends{netip.AddrFrom4([4]byte{10, 99, 0, 1}), netip.AddrFrom4([4]byte{10, 7, 0, 1})}
	endB     = ends{netip.AddrFrom4([4]byte{10, 99, 0, 2}), netip.AddrFrom4([4]byte{10, 7, 0, 2})}
	loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
)

// open creates the network and brings the subject up at both ends.
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
	if r.entry.TunnelMTU != resp.Opened.MTU {
		r.entry.TunnelMTU = resp.Opened.MTU
		r.emit(event{Subjects: []bench.Subject{*r.entry}})
	}
	return nil
}

// startAgents starts both ends. With namespaces, it connects them by a link.
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
		// An agent that is measuring reads no request, so cancellation kills it.
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

// tunnels creates keys, and returns what both ends are to open.
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

// mtu returns the MTU of tunnels that the rig configures.
func (r *round) mtu() int {
	if o := &r.cfg.Options; o.MTU != 0 {
		return o.MTU
	}
	return min(defaultMTU, r.cfg.Options.UnderlayMTU-overhead)
}

// place returns the values of a driver's variables at end a or b.
func (r *round) place(self string) place {
	other := "b"
	if self == "b" {
		other = "a"
	}
	return place{dir: filepath.Join(r.dir, "run"), self: self, other: other, a: endA, b: endB, mtu: r.mtu()}
}

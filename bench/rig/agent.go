package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"time"

	"github.com/wirespan/wirespan/bench/rig/load"
)

// request is a request of the engine to an agent. One field is set.
type request struct {
	Link    *link           `json:",omitempty"` // create this end of the network
	Open    *opening        `json:",omitempty"` // bring the subject up
	Prepare *external       `json:",omitempty"` // prepare a driver's subject, before both ends open
	Serve   *netip.Addr     `json:",omitempty"` // serve measurements at this address
	Measure *measureRequest `json:",omitempty"`
	Alive   bool            `json:",omitempty"` // fail with the reason if the subject has died
}

// measureRequest asks for one measurement towards the far end.
type measureRequest struct {
	Measure    measure
	Timing     timing
	Server     netip.AddrPort
	Congestion string
}

// response is the answer to one request.
type response struct {
	Error    string  `json:",omitempty"`
	Absent   bool    `json:",omitempty"` // Error says why the subject can't run here
	Opened   *opened `json:",omitempty"`
	Served   netip.AddrPort
	Outcome  outcome
	Offloads map[string]bool `json:",omitempty"`
}

// opened describes one end of a subject that is up.
type opened struct {
	Address netip.Addr // in the tunnel
	MTU     int
	Port    uint16 // UDP port of WireGuard; 0 for other subjects
	PIDs    []int  // whose CPU time and memory count
}

// absentError says why a subject can't run on this machine. The subject is then
// skipped and has not failed.
type absentError struct{ error }

// peerAgent is an agent as the engine sees it.
type peerAgent struct {
	*child
	opened *opened
	stop   func() bool // ends the watch that kills it on cancellation
}

// call sends a request to the agent and returns its response.
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

// agent is one end of the network.
type agent struct {
	network
	died    context.CancelCauseFunc // called when the subject has died; fails all requests
	closing []func()                // undo what was opened, in reverse order
	running sync.WaitGroup
}

// network dials and listens for the load, through the subject.
type network struct {
	dial   load.Dialer
	listen func(netip.AddrPort) (net.Listener, net.PacketConn, error)
}

// serveAgent answers the engine's requests until the engine closes the socket.
func serveAgent(ctx context.Context, w *wire) error {
	ctx, died := context.WithCancelCause(ctx)
	defer died(nil)
	a := &agent{network: network{load.Dial, load.Listen}, died: died}
	defer a.close()
	for {
		var req request
		if err := w.dec.Decode(&req); err != nil {
			return nil // the engine has ended, or it ends this run
		}
		var resp response
		err := context.Cause(ctx)
		if err == nil {
			err = a.answer(ctx, &req, &resp)
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause // the cause is why the subject died, which explains the failure
			}
			var absent absentError
			resp = response{Error: err.Error(), Absent: errors.As(err, &absent)}
		}
		if err := w.enc.Encode(resp); err != nil {
			return fmt.Errorf("answer the benchmark's engine: %w", err)
		}
	}
}

func (a *agent) answer(ctx context.Context, req *request, resp *response) (err error) {
	switch {
	case req.Link != nil:
		resp.Offloads, err = req.Link.make()
	case req.Open != nil:
		resp.Opened, err = a.open(ctx, req.Open)
	case req.Prepare != nil:
		err = a.prepareExternal(ctx, req.Prepare)
	case req.Serve != nil:
		resp.Served, err = a.serve(ctx, *req.Serve)
	case req.Measure != nil:
		m := req.Measure
		c := &load.Client{Dial: a.dial, Server: m.Server, Congestion: m.Congestion}
		resp.Outcome, err = m.Measure.run(ctx, c, m.Timing)
	case !req.Alive:
		err = errors.New("an empty request")
	}
	return err
}

// serve starts a server of measurements.
func (a *agent) serve(ctx context.Context, at netip.Addr) (netip.AddrPort, error) {
	l, p, err := a.listen(netip.AddrPortFrom(at, 0))
	if err != nil {
		return netip.AddrPort{}, err
	}
	limits := load.Limits{Tests: 4, Streams: maxStreams, Time: 4 * maxDuration}
	s := &load.Server{TCP: l, UDP: p, Limits: limits}
	ctx, cancel := context.WithCancel(ctx)
	a.running.Go(func() {
		if err := s.Serve(ctx); err != nil {
			a.died(err)
		}
	})
	a.closing = append(a.closing, cancel)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.ParseAddrPort(net.JoinHostPort(at.String(), port))
}

// run starts a process of the subject. If the process ends, all measurements end.
func (a *agent) run(name string, cmd *exec.Cmd) error {
	output, err := start(cmd, 0)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	exited := make(chan struct{})
	var how error
	go func() {
		how = ended(name, cmd.Wait(), output)
		close(exited)
	}()
	a.closing = append(a.closing, func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	a.watch(exited, func() error { return how })
	return nil
}

// watch ends all measurements when a process of the subject ends.
func (a *agent) watch(exited <-chan struct{}, how func() error) {
	done := make(chan struct{})
	a.running.Go(func() {
		select {
		case <-exited:
			a.died(how())
		case <-done:
		}
	})
	a.closing = append(a.closing, func() { close(done) })
}

// close closes everything that the agent opened, in reverse order.
func (a *agent) close() {
	for i := len(a.closing) - 1; i >= 0; i-- {
		a.closing[i]()
	}
	a.running.Wait()
}

// until calls do again and again until it succeeds. When upTime is over, it returns
// do's last error.
func until(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	for {
		err := do()
		if err == nil {
			return nil
		}
		t := time.NewTimer(20 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			return fmt.Errorf("after %s: %w", upTime, err)
		case <-t.C:
		}
	}
}

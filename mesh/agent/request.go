package agent

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// request is what another goroutine asks of the loop; the answer comes on reply.
type request struct {
	kind  requestKind
	node  string // of accept and forget
	reply chan reply
}

type requestKind int

const (
	requestReload requestKind = iota
	requestLeave
	requestLook
	requestAccept
	requestForget
	requestRefresh
	requestFind
)

var errStopped = errors.New("the agent has stopped")

type reply struct {
	restart []string
	node    string // node id of the one that was found
	err     error
}

// Reload reads the configuration again and applies it. It returns the names of
// changed settings that wait for a restart. A configuration that does not load
// changes nothing.
func (a *Agent) Reload(ctx context.Context) (restart []string, err error) {
	r := a.ask(ctx, request{kind: requestReload})
	return r.restart, r.err
}

// Leave deletes this node's affiliate everywhere and ends the loop. The loop
// ends even if a service could not be reached; the error then says so.
func (a *Agent) Leave(ctx context.Context) error { return a.ask(ctx, request{kind: requestLeave}).err }

// Look returns after one more pass of the loop, so that the counters are those of
// now and not of the last tick.
func (a *Agent) Look(ctx context.Context) error { return a.ask(ctx, request{kind: requestLook}).err }

// Refresh takes over what the node knows of its mesh now.
func (a *Agent) Refresh(ctx context.Context) error {
	return a.ask(ctx, request{kind: requestRefresh}).err
}

// Accept accepts the changed key or address of a node, named by its node id or
// nodename.
func (a *Agent) Accept(ctx context.Context, node string) error {
	return a.ask(ctx, request{kind: requestAccept, node: node}).err
}

// FindNode returns the node id of a node, named by its node id or nodename.
func (a *Agent) FindNode(ctx context.Context, node string) (string, error) {
	r := a.ask(ctx, request{kind: requestFind, node: node})
	return r.node, r.err
}

// Forget forgets what is remembered of a node, named by its node id or nodename: its key,
// its address, its name and its networks. If it is there, it is taken as a new node.
func (a *Agent) Forget(ctx context.Context, node string) error {
	return a.ask(ctx, request{kind: requestForget, node: node}).err
}

// Ping sends one echo request with so many bytes of data to addr through the tunnel.
func (a *Agent) Ping(ctx context.Context, addr netip.Addr, size int) (time.Duration, error) {
	dev := a.live.Load()
	if dev == nil {
		return 0, errors.New("the mesh is not running on this node (kubespan.enabled is false)")
	}
	return (*dev).Ping(ctx, addr, size)
}

func (a *Agent) ask(ctx context.Context, req request) reply {
	req.reply = make(chan reply, 1)
	select {
	case a.requests <- req:
	case <-a.done:
		return reply{err: errStopped}
	case <-ctx.Done():
		return reply{err: ctx.Err()}
	}
	select {
	case r := <-req.reply:
		return r
	case <-a.done:
		select { // it may have answered before it ended
		case r := <-req.reply:
			return r
		default:
			return reply{err: errStopped}
		}
	case <-ctx.Done():
		return reply{err: ctx.Err()}
	}
}

func (a *Agent) handle(ctx context.Context, req request) error {
	switch req.kind {
	case requestReload:
		restart, err := a.reload()
		a.answer(req, reply{restart: restart, err: err})
		return nil
	case requestLook:
		a.answer(req, reply{})
		return nil
	case requestAccept:
		a.answer(req, reply{err: a.accept(req.node)})
		return nil
	case requestFind:
		affiliates := a.discovered(time.Now())
		id, err := mesh.FindNode(a.cfg.Memory.Pins(a.self.Subnet), affiliates, req.node)
		req.reply <- reply{node: id, err: err}
		return nil
	case requestRefresh:
		a.answer(req, reply{err: a.refresh()})
		return nil
	case requestForget:
		a.answer(req, reply{err: a.forgetNode(req.node)})
		return nil
	default:
		err := a.leave(ctx)
		req.reply <- reply{err: err}
		return errLeft
	}
}

// answer replies at once with an error, and otherwise after the next pass, when
// what was asked for is in place.
func (a *Agent) answer(req request, r reply) {
	if r.err != nil {
		req.reply <- r
		return
	}
	a.schedule.replies = append(a.schedule.replies, func() { req.reply <- r })
}

func (a *Agent) accept(node string) error {
	affiliates := a.discovered(time.Now())
	pins, accepted, err := mesh.Accept(a.cfg.Memory.Pins(a.self.Subnet), affiliates, node)
	if err == nil && a.cfg.Accepting != nil {
		err = a.cfg.Accepting(accepted)
	}
	if err != nil {
		return err
	}
	a.log.Info("a node's changed identity is accepted", "node", node)
	a.cfg.Memory.SetPins(a.self.Subnet, pins)
	return a.cfg.Memory.WritePins()
}

func (a *Agent) refresh() error {
	next, err := a.cfg.Refresh()
	if err != nil {
		return err
	}
	if next.Charter.Authority != a.config.Charter.Authority {
		clear(a.refused)
	}
	next.ListenPort = a.config.ListenPort // a change of it may wait for a restart
	a.config, a.schedule.stale = next, true
	return nil
}

func (a *Agent) forgetNode(node string) error {
	pins, err := mesh.Forget(a.cfg.Memory.Pins(a.self.Subnet), node)
	if err != nil {
		return err
	}
	a.log.Info("a node is forgotten", "node", node)
	a.cfg.Memory.SetPins(a.self.Subnet, pins)
	return a.cfg.Memory.WritePins()
}

func (a *Agent) reload() ([]string, error) {
	if a.cfg.Reload == nil {
		return nil, errors.New("this agent has no configuration to reload")
	}
	next, err := a.cfg.Reload()
	if err != nil {
		a.log.Error("reload: keeping the configuration as it was", "error", err)
		return nil, err
	}
	denied, err := a.movePort(next)
	if err != nil {
		a.log.Error("reload: keeping the configuration as it was", "error", err)
		return nil, err
	}
	a.config, a.schedule.stale = next, true
	restart := config.Diff(a.first.Config, next.Config)
	if denied {
		restart = append(restart, "listenPort")
	}
	a.log.Info("configuration reloaded", "waitingForRestart", restart)
	return restart, nil
}

// movePort makes the device listen on the port of next. An agent that has dropped
// its privileges may be denied a port below 1024: the change then waits for a
// restart, and next keeps the present port.
func (a *Agent) movePort(next *Effective) (denied bool, err error) {
	if a.plane.device == nil || next.ListenPort == a.config.ListenPort {
		return false, nil
	}
	err = a.plane.device.SetListenPort(next.ListenPort)
	if !errors.Is(err, fs.ErrPermission) {
		return false, err
	}
	a.log.Warn("reload: the UDP port waits for a restart", "error", err)
	next.ListenPort = a.config.ListenPort
	return true, nil
}

package standalone

import (
	"context"
	"errors"
	"fmt"
	"io"

	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/memory"
	"github.com/wirespan/wirespan/device/tun"
)

// Config is the initial configuration of an interface. Other settings come from the
// environment.
type Config struct {
	Name         string    // of the interface; an inherited one keeps its own
	MemoryBudget int64     // bytes; 0: see memory.Tune
	Log          io.Writer // for a person to read; nil: discarded
}

// Run runs an interface until ctx ends, the interface is deleted, or its socket is
// removed; none of these is an error. If this process was started by [Daemonize],
// Run reports to the parent process that it is ready, or its error, which it then
// returns as a [ReportedError].
func Run(ctx context.Context, c Config) error {
	parent, err := waitingParent()
	if err != nil {
		return err
	}
	return parent.report(run(ctx, c, parent))
}

func run(ctx context.Context, c Config, parent *waiter) error {
	if c.Log == nil {
		c.Log = io.Discard
	}
	log := newLogger(c.Name, c.Log)
	defer memory.Tune(c.MemoryBudget, log).Close()

	plane, err := openTUN(c.Name)
	if err != nil {
		return err
	}
	name, err := plane.Name()
	if err != nil {
		return errors.Join(fmt.Errorf("name of the interface: %w", err), plane.Close())
	}
	socket, err := openSocket(name)
	if err != nil {
		return errors.Join(err, plane.Close())
	}
	defer socket.Close()
	dev, err := device.OpenBare(device.Config{TUN: plane, Bind: bind.New(log), Log: log})
	if err != nil {
		return err
	}
	defer dev.Close()
	ctx, stop, err := socket.untilRemoved(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := parent.ready(); err != nil {
		return err
	}
	dev.ServeUAPIListener(ctx, socket)
	return nil
}

// openTUN creates the interface, or takes over the inherited one. As with
// wireguard-go, its MTU is 1420 until someone changes it.
func openTUN(name string) (*tun.TUN, error) {
	const mtu = wireguard.DefaultMTU
	inherited, err := inheritedFD(EnvTUN)
	if err != nil {
		return nil, err
	}
	if inherited != nil {
		return tun.FromFile(inherited, mtu)
	}
	return tun.Attach(name, mtu)
}

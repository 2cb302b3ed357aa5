package rig

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// prepareExternal starts a driver's server and runs its Prepare commands, at end a
// and before either end starts.
func (a *agent) prepareExternal(ctx context.Context, x *external) error {
	if err := x.writeFiles(); err != nil {
		return err
	}
	if len(x.Server) > 0 {
		if _, err := a.startExternal(x, x.Server); err != nil {
			return err
		}
	}
	for _, argv := range x.Prepare {
		if err := x.repeat(ctx, argv); err != nil {
			return err
		}
	}
	return nil
}

// openExternal brings up one end of a driver's tunnel.
func (a *agent) openExternal(ctx context.Context, o *opening) (*opened, error) {
	x := o.External
	x.Environment = append(x.Environment, o.environment()...)
	if err := x.writeFiles(); err != nil {
		return nil, err
	}
	pid, err := a.startExternal(x, x.Start)
	if err != nil {
		return nil, err
	}
	if len(x.Ready) > 0 {
		if err := x.repeat(ctx, x.Ready); err != nil {
			return nil, err
		}
	}
	return x.inspect(ctx, o.Tunnel.Address, pid)
}

func (x *external) writeFiles() error {
	for path, content := range x.Files {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("%s: %w", x.Name, err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return fmt.Errorf("%s: %w", x.Name, err)
		}
	}
	return nil
}

func (a *agent) startExternal(x *external, argv []string) (pid int, err error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), x.Environment...)
	if err := a.run(filepath.Base(argv[0]), cmd); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// repeat runs a command until it succeeds.
func (x *external) repeat(ctx context.Context, argv []string) error {
	err := until(ctx, func() error {
		_, err := (&command{argv, x.Environment}).run(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", x.Name, err)
	}
	return nil
}

// inspect finds the address, its link's MTU and the processes of this end.
func (x *external) inspect(ctx context.Context, address netip.Addr, pid int) (*opened, error) {
	o := &opened{Address: address, PIDs: []int{pid}}
	if len(x.Address) > 0 {
		out, err := (&command{x.Address, x.Environment}).run(ctx)
		if err != nil {
			return nil, err
		}
		first, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
		if o.Address, err = netip.ParseAddr(strings.TrimSpace(first)); err != nil {
			return nil, fmt.Errorf("%s: tunnel address: %w", x.Name, err)
		}
	}
	if len(x.PIDs) > 0 {
		out, err := (&command{x.PIDs, x.Environment}).run(ctx)
		if err != nil {
			return nil, err
		}
		o.PIDs = nil
		for _, field := range strings.Fields(out) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("%s: processes: %w", x.Name, err)
			}
			o.PIDs = append(o.PIDs, pid)
		}
	}
	err := until(ctx, func() (err error) {
		o.MTU, err = linkMTU(o.Address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.Name, err)
	}
	return o, nil
}

package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

const serviceUnit = "wirespan.service"

// HasService reports whether systemd runs this machine and has the agent's unit.
func HasService() bool {
	if _, err := os.Stat("/run/systemd/system"); err != nil { // sd_booted(3)
		return false
	}
	state, err := exec.Command("systemctl", "show", "--value", "-p", "LoadState", serviceUnit).Output()
	return err == nil && strings.TrimSpace(string(state)) == "loaded"
}

// ServiceActive reports whether the service runs. An agent may also run without it.
func ServiceActive() bool {
	return exec.Command("systemctl", "is-active", "--quiet", serviceUnit).Run() == nil
}

// StartService starts the service, now and at each boot, or restarts it. It returns when
// the agent has joined, or when ctx ends: then the service goes on.
func StartService(ctx context.Context, restart bool) error {
	args := []string{"enable", "--now", serviceUnit}
	if restart {
		args = []string{"restart", serviceUnit}
	}
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("systemctl %s: %w: %s (journalctl -u wirespan says why)", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

package host

import (
	"context"
	"os"
	"strings"
	"time"
)

// hostnamePath can be polled: that the hostname changes is an event of it.
const hostnamePath = "/proc/sys/kernel/hostname"

// Hostname returns the machine's name. It is empty as long as the machine has none: many
// are called "localhost" until cloud-init or DHCP tell them.
func (h *Host) Hostname() string {
	name, err := os.Hostname()
	if err != nil || isPlaceholder(name) {
		return ""
	}
	return name
}

// isPlaceholder reports whether a hostname is one that machines without a name have.
func isPlaceholder(name string) bool {
	switch first, domain, _ := strings.Cut(strings.ToLower(strings.TrimSuffix(name, ".")), "."); first {
	case "", "(none)":
		return true
	case "localhost":
		return domain == "" || strings.HasPrefix(domain, "localdomain")
	case "localhost4", "localhost6":
		return strings.HasPrefix(domain, "localdomain")
	}
	return false
}

// followHostname notifies of changes of the hostname until ctx is done. Where the file
// can't be polled, the agent notices them at its next regular check only.
func (h *Host) followHostname(ctx context.Context) {
	file, err := os.Open(hostnamePath)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	raw, err := file.SyscallConn()
	if err != nil || file.SetReadDeadline(time.Time{}) != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for last := h.Hostname(); ; {
		waited := false
		if raw.Read(func(uintptr) (done bool) { done, waited = waited, true; return done }) != nil {
			return
		}
		if name := h.Hostname(); name != last {
			last = name
			h.changed.Notify()
		}
	}
}

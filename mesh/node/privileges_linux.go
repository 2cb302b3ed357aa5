package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"unsafe"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// capabilities returns those that the running agent needs: CAP_NET_ADMIN (link, addresses,
// socket marks), CAP_NET_BIND_SERVICE (DNS, and what a reload makes listen below 1024), and
// CAP_DAC_OVERRIDE if root's agent has to read or write files of another user.
func (n *Node) capabilities() []uintptr {
	keep := []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE}
	if slices.ContainsFunc(append(slices.Clone(n.cfg.Files), n.state.Root(), n.config.IdentityDir, n.config.PeersFile, n.config.RelayPasswordFile), foreign) {
		keep = append(keep, unix.CAP_DAC_OVERRIDE)
	}
	return keep
}

// foreign reports whether path or a directory above it belongs to a user other than root
// and the user of this process. It may be inaccessible without capabilities then.
func foreign(path string) bool {
	path, err := filepath.Abs(path)
	for err == nil && path != "/" {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return true
		}
		path = filepath.Dir(path)
	}
	return false
}

// dropPrivileges drops every capability that is not in keep, and prevents that exec
// regains one. It adds no capability.
func dropPrivileges(keep []uintptr, log hclog.Logger) error {
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("setting no_new_privs: %w", errno)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have, want [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	for _, c := range keep {
		word, bit := c/32, uint32(1)<<(c%32)
		want[word].Permitted |= bit & have[word].Permitted
		want[word].Effective |= bit & have[word].Effective
	}
	if want == have {
		return nil
	}
	// For all threads, because the Go runtime moves goroutines between them.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&want[0])), 0)
	if errno != 0 {
		return fmt.Errorf("dropping capabilities: %w", errno)
	}
	log.Debug("capabilities dropped")
	return nil
}

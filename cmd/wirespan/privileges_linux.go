package main

import (
	"fmt"
	"syscall"
	"unsafe"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// dropPrivileges gives up every capability that a running agent does not need:
// all but CAP_NET_ADMIN (link, addresses, socket marks) and, for a listen port
// below 1024, CAP_NET_BIND_SERVICE. It forbids gaining any back by exec. An
// agent without capabilities keeps none.
func dropPrivileges(listenPort uint16, log hclog.Logger) error {
	keep := []uintptr{unix.CAP_NET_ADMIN}
	if listenPort != 0 && listenPort < 1024 {
		keep = append(keep, unix.CAP_NET_BIND_SERVICE)
	}
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
	// Of all threads: the Go runtime moves goroutines between them.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&want[0])), 0)
	if errno != 0 {
		return fmt.Errorf("dropping capabilities: %w", errno)
	}
	log.Debug("capabilities dropped")
	return nil
}

package netlink

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// InNamespace calls do in the network namespace of a descriptor, on one thread: sockets
// that do opens belong to that namespace. Should the thread not get back to its own
// namespace, InNamespace fails, and the thread ends with the caller's goroutine.
func InNamespace(ns int, do func() error) error {
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer func() { _ = unix.Close(own) }()
		err = unix.Setns(ns, unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	err = do()
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("return to the network namespace of the process: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

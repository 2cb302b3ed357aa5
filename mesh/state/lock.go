package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse reports that another agent holds the lock of the state directory.
var ErrInUse = errors.New("another agent is using it (stop that one, or give this one its own --state-dir)")

// How long and how often Lock tries while a short task holds the lock.
const (
	lockWait  = 10 * time.Second
	lockRetry = 10 * time.Millisecond
)

// Lock locks the directory for this process until Close. It fails with [ErrInUse] if
// another agent holds the lock, and waits for a short task that does. It removes what
// writes that a power failure cut short have left.
func (s *Dir) Lock() error {
	err := s.takeLock(func(fd int) error {
		for end := time.Now().Add(lockWait); ; time.Sleep(lockRetry) {
			err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
			if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
				return err
			}
			if err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
				return err // not a short task
			}
			_ = unix.Flock(fd, unix.LOCK_UN) // between two attempts
		}
	})
	if err == nil {
		s.sweep()
	}
	return err
}

// LockBriefly locks the directory for a short task that may run beside others of its kind,
// until Close. It fails with [ErrInUse] if an agent holds the lock. An agent that starts
// meanwhile waits.
func (s *Dir) LockBriefly() error {
	return s.takeLock(func(fd int) error { return unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) })
}

func (s *Dir) takeLock(lock func(fd int) error) error {
	if s.mem != nil {
		return nil
	}
	f, err := s.openLock()
	if err != nil {
		return fmt.Errorf("state directory %q: %w (give a writable one with --state-dir, or --state-dir memory)", s.dir, bare(err))
	}
	if err := lock(int(f.Fd())); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("state directory %q: %w", s.dir, ErrInUse)
		}
		return fmt.Errorf("locking state directory %q: %w", s.dir, err)
	}
	s.lock = f
	return nil
}

// openLock opens what is locked: the file for it or, where that is not and cannot be made,
// the directory itself.
func (s *Dir) openLock() (*os.File, error) {
	path := filepath.Join(s.dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil || !Unwritable(err) {
		return f, err
	}
	if f, err := os.Open(path); err == nil {
		return f, nil
	}
	return os.Open(s.dir)
}

// Unwritable reports whether an error says that a file system is full or read-only.
func Unwritable(err error) bool {
	return errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

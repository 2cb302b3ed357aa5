package host

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// jump is how far the clock must be set for that to count. A sleep of the machine sets it,
// too: the clock goes on meanwhile, and timers do not.
const jump = 2 * time.Second

// followClock signals jumps of the clock until ctx is done. Without support by the kernel,
// it does nothing.
func (h *Host) followClock(ctx context.Context) {
	f, err := clockFile()
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	watchClock(f, clockOffset, h.changed.Notify)
}

// watchClock calls jumped when the clock was set by more than jump, until reading from r
// fails. It fails with ECANCELED, and once only, if the clock was set.
func watchClock(r io.Reader, offset func() time.Duration, jumped func()) {
	var b [8]byte
	last := offset()
	for {
		if _, err := r.Read(b[:]); !errors.Is(err, unix.ECANCELED) {
			return
		}
		now := offset()
		if (now - last).Abs() > jump {
			jumped()
		}
		last = now
	}
}

// clockFile returns a timer that never ends. Reading from it fails with ECANCELED when the
// clock was set.
func clockFile() (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "timerfd")
	never := unix.ItimerSpec{Value: unix.NsecToTimespec(math.MaxInt64)}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil); err != nil {
		_ = f.Close()
		return nil, os.NewSyscallError("timerfd_settime", err)
	}
	return f, nil
}

// clockOffset returns how far the clock is ahead of the time that timers go by.
func clockOffset() time.Duration {
	var wall, mono unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &wall) // neither fails
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)
	return time.Duration(wall.Nano() - mono.Nano())
}

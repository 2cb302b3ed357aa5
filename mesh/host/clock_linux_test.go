package host

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// setClock is a clock that is set each time it is read from.
type setClock struct {
	offsets []time.Duration // afterwards
	now     time.Duration
}

func (c *setClock) Read([]byte) (int, error) {
	if len(c.offsets) == 0 {
		return 0, io.ErrClosedPipe
	}
	c.now, c.offsets = c.offsets[0], c.offsets[1:]
	return 0, &os.PathError{Op: "read", Path: "timerfd", Err: unix.ECANCELED}
}

// A sleep and a clock that was set by much are signalled; corrections are not.
func TestClockJumps(t *testing.T) {
	for name, test := range map[string]struct {
		offsets []time.Duration
		want    int
	}{
		"a sleep":               {[]time.Duration{time.Hour}, 1},
		"set back":              {[]time.Duration{-time.Hour}, 1},
		"corrections":           {[]time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 2 * time.Second}, 0},
		"one after another":     {[]time.Duration{time.Minute, 2 * time.Minute, time.Minute}, 3},
		"nothing but the start": {nil, 0},
	} {
		c, got := &setClock{offsets: test.offsets}, 0
		watchClock(c, func() time.Duration { return c.now }, func() { got++ })
		if got != test.want {
			t.Errorf("%s: signalled %d times, want %d", name, got, test.want)
		}
	}
}

// The kernel has the timer, which can be polled, and does not say that the clock was set.
func TestClockFile(t *testing.T) {
	f, err := clockFile()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var b [8]byte
	if n, err := f.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes: %v, want %v", n, err, os.ErrDeadlineExceeded)
	}
}

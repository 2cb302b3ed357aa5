package host

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// beside starts run on a thread that shares this thread's namespaces. It returns a
// function that ends it.
func beside(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var here []*os.File
	for _, name := range []string{"net", "uts"} {
		f, err := os.Open("/proc/thread-self/ns/" + name)
		if err != nil {
			t.Fatal(err)
		}
		here = append(here, f)
	}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
		for _, f := range here {
			if err := unix.Setns(int(f.Fd()), 0); err != nil {
				ended <- err
				return
			}
			_ = f.Close()
		}
		ended <- run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func waitChange(t *testing.T, h *Host, what string) {
	t.Helper()
	select {
	case <-h.Changed():
	case <-time.After(10 * time.Second):
		t.Errorf("not signalled: %s", what)
	}
}

// Whatever can change what Links and Underlay return is signalled.
func TestChanges(t *testing.T) {
	namespace(t)
	h := New(Config{})
	beside(t, h.Run)
	waitChange(t, h, "the start")
	for _, change := range []string{
		"link set up1 mtu 1300",
		"link set up1 alias other",
		"link set up1 down",
		"link set up1 name uplink1",
		"link set uplink1 up",
		"addr add 192.0.2.9/24 dev up0",
		"addr change 192.0.2.9/24 dev up0 preferred_lft 0 valid_lft 7200",
		"-6 addr change fd00::1/64 dev up0 preferred_lft 0 valid_lft 7200",
		"route add default via 192.0.0.254",
		"route add default via 192.0.0.253 table 201",
		"rule add priority 32000 lookup 201",
		"-6 rule add priority 32000 lookup 201",
		"-6 route add default dev up0 table 201",
		"route replace default via 192.0.0.253",
		"link del up0",
	} {
		quiet(h)
		script(t, change)
		waitChange(t, h, change)
	}
}

// quiet takes the signal of what is over.
func quiet(h *Host) {
	select {
	case <-h.Changed():
	default:
	}
}

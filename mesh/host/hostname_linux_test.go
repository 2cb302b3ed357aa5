package host

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPlaceholders(t *testing.T) {
	for name, want := range map[string]bool{
		"": true, "localhost": true, "LOCALHOST": true, "localhost.": true, "(none)": true, "localhost.localdomain": true,
		"localhost6.localdomain6": true, "localhost4.localdomain4": true,
		"web1": false, "localhost.example.com": false, "localhost4": false, "none": false, "my-localhost": false,
	} {
		if isPlaceholder(name) != want {
			t.Errorf("%q is a placeholder: %v", name, !want)
		}
	}
}

// The hostname is followed, whoever sets it.
func TestHostnameChanges(t *testing.T) {
	namespace(t)
	if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
		t.Fatal(err)
	}
	h := New(Config{})
	beside(t, func(ctx context.Context) error {
		h.followHostname(ctx)
		if ctx.Err() == nil {
			return errors.New("the hostname can't be followed")
		}
		return nil
	})
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for i := 0; ; i++ { // until it is being followed
		name := fmt.Sprint("web", i)
		if err := unix.Sethostname([]byte(name)); err != nil {
			t.Fatal(err)
		}
		if got := h.Hostname(); got != name {
			t.Fatalf("hostname %q, want %q", got, name)
		}
		select {
		case <-h.Changed():
			return
		case <-again.C:
		}
		if i == 1000 {
			t.Fatal("a change of the hostname was not signalled")
		}
	}
}

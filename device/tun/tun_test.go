package tun

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestIsKubeSpan(t *testing.T) {
	for addr, want := range map[string]bool{
		"fd12:3456:789a:bc02::1": true,
		"fd12:3456:789a:bc03::1": false, // another purpose
		"fc12:3456:789a:bc02::1": false,
		"fe80::2":                false,
		"10.0.0.2":               false,
	} {
		if got := isKubeSpan(netip.MustParseAddr(addr)); got != want {
			t.Errorf("isKubeSpan(%s) = %v", addr, got)
		}
	}
}

func TestErrorsSayHowToMend(t *testing.T) {
	for _, tc := range []struct {
		err   error
		cause error
		want  string
	}{
		{openError(unix.ENOENT), unix.ENOENT, "modprobe tun"},
		{openError(unix.ENODEV), unix.ENODEV, "modprobe tun"},
		{openError(unix.EACCES), unix.EACCES, "netstack"},
		{openError(unix.EMFILE), unix.EMFILE, "/dev/net/tun"},
		{createError("w0", unix.EPERM), unix.EPERM, "CAP_NET_ADMIN"},
		{createError("w0", unix.EBUSY), unix.EBUSY, "ip link delete w0"},
		{createError("w0", unix.EINVAL), unix.EINVAL, "w0"},
	} {
		if !errors.Is(tc.err, tc.cause) || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("%v: lacks %q", tc.err, tc.want)
		}
	}
	for _, name := range []string{"", "sixteen-letters!"} {
		if _, err := Open(name, 1420); err == nil || !strings.Contains(err.Error(), "interface name") {
			t.Errorf("Open(%q): %v", name, err)
		}
	}
}

package tun

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConfigureOwnsKubeSpanAddresses(t *testing.T) {
	added := netip.MustParsePrefix("10.0.0.1/32")
	n := &TUN{added: []netip.Prefix{added}}
	for prefix, want := range map[string]bool{
		"fd12:3456:789a:bc02::1/64": true,
		"fd12:3456:789a:bc03::1/64": false, // another purpose
		"fc12:3456:789a:bc02::1/64": false,
		"fe80::2/64":                false,
		"10.0.0.2/32":               false,
		added.String():              true,
	} {
		if got := n.owns(netip.MustParsePrefix(prefix)); got != want {
			t.Errorf("owns(%s) = %v", prefix, got)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, tc := range []struct {
		err   error
		cause error
		want  string
	}{
		{advise("w0", cloneError{unix.ENOENT}), unix.ENOENT, "modprobe tun"},
		{advise("w0", cloneError{unix.ENODEV}), unix.ENODEV, "modprobe tun"},
		{advise("w0", cloneError{unix.EACCES}), unix.EACCES, "netstack"},
		{advise("w0", cloneError{unix.EMFILE}), unix.EMFILE, "/dev/net/tun"},
		{advise("w0", unix.EPERM), unix.EPERM, "CAP_NET_ADMIN"},
		{advise("w0", unix.EBUSY), unix.EBUSY, "ip link delete w0"},
		{advise("w0", unix.EINVAL), unix.EINVAL, "w0"},
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

func TestIPv6Available(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string // in directory conf; nil: no IPv6 at all
		want  string
	}{
		"enabled":               {map[string]string{"all": "0\n", "default": "0\n", "lo": "1\n"}, ""},
		"disabled for all":      {map[string]string{"all": "1\n", "default": "0\n"}, "net.ipv6.conf.all.disable_ipv6"},
		"disabled for new ones": {map[string]string{"all": "0\n", "default": "1\n"}, "net.ipv6.conf.default.disable_ipv6"},
		"nothing readable":      {map[string]string{"lo": "1\n"}, ""},
		"not in the kernel":     {nil, "the kernel has no IPv6"},
	} {
		root := filepath.Join(t.TempDir(), "ipv6")
		for which, value := range tc.files {
			dir := filepath.Join(root, "conf", which)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "disable_ipv6"), []byte(value), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := ipv6Available(root)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

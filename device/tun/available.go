package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ipv6Settings holds the kernel's IPv6 settings for new interfaces in the reader's
// network namespace.
const ipv6Settings = "/proc/sys/net/ipv6"

// Available returns why no TUN interface can be used here, in a few words; nil if one
// can. It creates one under a name that the kernel chooses, and removes it at once. If IPv6
// is disabled on this host, it is enough that it can be enabled on the interface.
func Available() error {
	fd, err := create("wirespan%d", unix.IFF_TUN_EXCL)
	var clone cloneError
	switch {
	case errors.As(err, &clone):
		return err
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("no CAP_NET_ADMIN in this network namespace: %w", err)
	case err != nil:
		return fmt.Errorf("create a TUN interface: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	disabled := ipv6Available(ipv6Settings)
	if disabled == nil {
		return nil
	}
	if name, _, err := attached(fd); err == nil && enableIPv6(name) == nil {
		return nil
	}
	return disabled
}

// ipv6Available returns why a new interface can't have this node's address, which is
// an IPv6 address. Settings that can't be read are no error: Configure reports what
// is wrong then.
func ipv6Available(settings string) error {
	if _, err := os.Stat(settings); errors.Is(err, fs.ErrNotExist) {
		return errors.New("the kernel has no IPv6")
	}
	for _, which := range []string{"all", "default"} {
		value, err := os.ReadFile(filepath.Join(settings, "conf", which, "disable_ipv6"))
		if err == nil && strings.TrimSpace(string(value)) == "1" {
			return fmt.Errorf("IPv6 is disabled (net.ipv6.conf.%s.disable_ipv6)", which)
		}
	}
	return nil
}

// cloneError is an error of opening the clone device, as opposed to creating a link.
type cloneError struct{ error }

func (e cloneError) Error() string { return "open " + cloneDevice + ": " + e.error.Error() }
func (e cloneError) Unwrap() error { return e.error }

// advise returns an error of create together with what to do about it.
func advise(name string, err error) error {
	var clone cloneError
	if errors.As(err, &clone) {
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
			return fmt.Errorf("%w: load the kernel module (modprobe tun), give the container the device, or use the netstack backend", err)
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
			return fmt.Errorf("%w: run as root, or use the netstack backend", err)
		}
		return err
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("create TUN interface %q: %w: it needs CAP_NET_ADMIN in this network namespace; run as root, or use the netstack backend", name, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("create TUN interface %q: it exists already: stop the program that holds it, remove it (ip link delete %s), or set another interfaceName: %w", name, name, err)
	}
	return fmt.Errorf("create TUN interface %q: %w", name, err)
}

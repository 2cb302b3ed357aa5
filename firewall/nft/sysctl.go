package nft

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// Sysctl is a kernel setting that was changed.
type Sysctl struct {
	Name     string `json:"name"` // below /proc/sys/net
	Previous string `json:"previous"`
	Set      string `json:"set"`
	// link is the index of the interface in Name, so that a change of its name is followed.
	// It is not kept: after a restart of the machine other interfaces may have it.
	link uint32
}

// followed returns settings under the names that their interfaces have now. From then on
// it knows the interfaces.
func (s *sysctls) followed(settings []Sysctl) ([]Sysctl, error) {
	var errs []error
	out := append([]Sysctl(nil), settings...)
	for i := range out {
		parts := strings.Split(out[i].Name, "/") // ipv4/conf/eth0/forwarding
		if len(parts) != 4 || parts[2] == "all" || parts[2] == "default" {
			continue
		}
		if out[i].link == 0 {
			l, err := s.routing.rt.Link(parts[2])
			out[i].link = l.Index
			errs = append(errs, err)
			continue
		}
		name, err := s.routing.rt.LinkName(out[i].link)
		errs = append(errs, err)
		if name != "" {
			parts[2] = name
			out[i].Name = strings.Join(parts, "/")
		}
	}
	return out, errors.Join(errs...)
}

// sysctls changes the kernel settings that routing needs.
type sysctls struct{ routing *routing }

// readSysctl returns the value of a setting; it is empty if there is none.
func readSysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/net/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// IPv6Disabled reports whether IPv6 is disabled on an interface.
func IPv6Disabled(iface string) bool { return readSysctl("ipv6/conf/"+iface+"/disable_ipv6") == "1" }

// write sets a setting through /proc/sys, which unlike netlink also turns off
// large receive offload where packets are forwarded. If /proc/sys is read-only, it
// uses netlink for the settings that netlink can set.
func (s *sysctls) write(name, value string) error {
	err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	iface, isIPv4 := strings.CutPrefix(name, "ipv4/conf/")
	if iface, isForwarding := strings.CutSuffix(iface, "/forwarding"); isIPv4 && isForwarding {
		if n, bad := strconv.ParseUint(value, 10, 32); bad == nil {
			return s.setConf(iface, netlink.ConfForwarding, uint32(n))
		}
	}
	return fmt.Errorf("write %q: %w: set it with sysctl(8), or give the service a writable /proc/sys", value, err)
}

// setConf sets an IPv4 setting of an interface through netlink, which also works
// for a hardened service that sees /proc/sys read-only.
func (s *sysctls) setConf(iface string, conf uint16, value uint32) error {
	return withAdvice(s.routing.rt.SetIPv4Conf(iface, conf, value))
}

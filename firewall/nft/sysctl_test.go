package nft

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReversePath(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	name := "ipv4/conf/" + iface + "/rp_filter"
	write := func(name, value string) {
		t.Helper()
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		all, route string
		want       ReversePath
	}{
		{all: "0", want: ReversePath{0, 0}},
		{all: "1", want: ReversePath{2, 1}},
		{all: "2", want: ReversePath{2, 2}},
		{all: "0", route: "default", want: ReversePath{2, 0}},
		{all: "1", route: "default", want: ReversePath{2, 1}},
	} {
		write(name, "1")
		write("ipv4/conf/all/rp_filter", c.all)
		if c.route != "" {
			run(t, "ip", "route", "replace", c.route, "dev", iface)
		}
		for range 2 {
			got, err := f.SetReversePath(iface)
			if err != nil || got != c.want {
				t.Errorf("%+v: %+v, %v", c, got, err)
			}
		}
		if got := readSysctl(name); got != string(rune('0'+c.want.Interface)) {
			t.Errorf("%+v: it is %s", c, got)
		}
	}
	if got := readSysctl("ipv4/conf/peer-" + iface + "/rp_filter"); got == "2" {
		t.Error("another interface was changed")
	}
	if _, err := f.SetReversePath("wsnone0"); err == nil {
		t.Error("no error without an interface")
	}
}

// site adds two interfaces with networks behind them, and a third with the default
// route.
func site(t *testing.T) {
	t.Helper()
	tunnel(t, iface)
	for i, name := range []string{"lan0", "lan1", "wan0"} {
		tunnel(t, name)
		run(t, "ip", "addr", "add", "10."+string(rune('0'+i))+".0.1/24", "dev", name)
		run(t, "ip", "addr", "add", "2001:db8:"+string(rune('0'+i))+"::1/64", "dev", name, "nodad")
	}
	run(t, "ip", "route", "add", "default", "via", "10.2.0.2")
	run(t, "ip", "route", "add", "192.168.0.0/16", "nexthop", "via", "10.0.0.2", "nexthop", "via", "10.1.0.2")
}

func TestForwardingIPv4(t *testing.T) {
	namespace(t)
	site(t)
	f := open(t)
	run(t, "sysctl", "-qw", "net.ipv4.conf.lan1.forwarding=1")
	state := func() string {
		var out []string
		for _, name := range []string{iface, "lan0", "lan1", "wan0", "all"} {
			out = append(out, readSysctl("ipv4/conf/"+name+"/forwarding"))
		}
		return strings.Join(out, " ")
	}
	before := state()
	set := func(want string, networks ...string) func([]Sysctl) []Sysctl {
		return func(old []Sysctl) []Sysctl {
			t.Helper()
			got, err := f.SetForwarding(ForwardingSpec{Interface: iface, Networks: prefixes(networks...)}, old)
			if err != nil {
				t.Fatal(err)
			}
			if s := state(); s != want {
				t.Errorf("%v: %s, want %s", networks, s, want)
			}
			return got
		}
	}
	changed := set("1 1 1 0 0", "10.0.0.0/24")(nil)
	changed = set("1 1 1 0 0", "10.0.0.0/24")(changed)
	if len(changed) != 2 {
		t.Errorf("changed %+v", changed)
	}
	changed = set("1 0 1 1 0", "10.2.0.0/25")(changed)
	changed = set("1 1 1 0 0", "10.0.0.0/15")(changed)
	changed = set("1 1 1 0 0", "192.168.3.0/24")(changed)
	changed = set("1 1 1 1 0", "192.168.3.0/24", "172.16.0.0/12")(changed)
	text, err := json.Marshal(changed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range changed {
		changed[i].link = 0 // which is not kept
	}
	var again []Sysctl
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, changed) {
		t.Fatalf("%s, %v", text, err)
	}
	run(t, "ip", "link", "del", "wan0")
	if err := f.Restore(again); err != nil {
		t.Fatal(err)
	}
	if s := state(); before != "0 0 1 0 0" || s != "0 0 1  0" {
		t.Errorf("%q, before %q", s, before)
	}
}

// What is to be restored of an interface is restored under its new name, also if another
// interface has its old one.
func TestForwardingRenamed(t *testing.T) {
	namespace(t)
	site(t)
	f := open(t)
	run(t, "sysctl", "-qw", "net.ipv4.conf.lan1.forwarding=1") // as its owner wants it
	spec := ForwardingSpec{Interface: iface, Networks: prefixes("10.0.0.0/24", "10.1.0.0/24", "2001:db8::/64")}
	set := func(old []Sysctl) []Sysctl {
		t.Helper()
		got, err := f.SetForwarding(spec, old)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	rename := func(from, to string) {
		run(t, "ip", "link", "set", from, "down")
		run(t, "ip", "link", "set", from, "name", to)
		run(t, "ip", "link", "set", to, "up")
		run(t, "ip", "-6", "addr", "replace", "2001:db8:f::1/64", "dev", to, "nodad")
	}
	changed := set(nil)
	rename("lan0", "tmp0")
	rename("lan1", "lan0")
	rename("tmp0", "home0")
	changed = set(changed)
	if got := readSysctl("ipv4/conf/home0/forwarding"); got != "1" {
		t.Errorf("the renamed interface forwards: %s", got)
	}
	if err := f.Restore(changed); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"home0": "0", "lan0": "1", iface: "0"} {
		if got := readSysctl("ipv4/conf/" + name + "/forwarding"); got != want {
			t.Errorf("%s after Restore: %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"ipv6/conf/home0/force_forwarding", forwardAll6} {
		if readSysctl(name) == "1" {
			t.Errorf("%s is 1 after Restore", name)
		}
	}
}

func TestForwardingIPv6(t *testing.T) {
	namespace(t)
	site(t)
	f := open(t)
	got, err := f.SetForwarding(ForwardingSpec{Interface: iface, Networks: prefixes("2001:db8::/64")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	single := readSysctl("ipv6/conf/lan0/force_forwarding") // from Linux 6.17 on
	if all := readSysctl(forwardAll6); single != "" && (single != "1" || all != "0" || readSysctl("ipv6/conf/wan0/force_forwarding") != "0") || single == "" && all != "1" {
		t.Errorf("lan0 %q, all %q", single, all)
	}
	if err := f.Restore(got); err != nil {
		t.Fatal(err)
	}
	if s := readSysctl("ipv6/conf/lan0/force_forwarding"); s == "1" || readSysctl(forwardAll6) != "0" {
		t.Error("not restored")
	}
}

// Kernels without force_forwarding have only one setting for all interfaces.
func TestForwardingIPv6All(t *testing.T) {
	namespace(t)
	site(t)
	f := open(t)
	run(t, "sysctl", "-qw", "net.ipv6.conf.lan1.forwarding=1")
	parts := enabledForwarding6()
	run(t, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
	if err := f.Restore(append([]Sysctl{{Name: forwardAll6, Previous: "0", Set: "1"}}, parts...)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"all": "0", "lan0": "0", "lan1": "1"} {
		if got := readSysctl("ipv6/conf/" + name + "/forwarding"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	run(t, "ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "wan0", "proto", "ra")
	if err := f.routing.checkAdvertisedDefault(); err == nil || !strings.Contains(err.Error(), "net.ipv6.conf.wan0.accept_ra=2") {
		t.Errorf("error %v", err)
	}
	run(t, "sysctl", "-qw", "net.ipv6.conf.wan0.accept_ra=2")
	if err := f.routing.checkAdvertisedDefault(); err != nil {
		t.Error(err)
	}
}

// A hardened service sees /proc/sys read-only.
func TestReadOnlyProc(t *testing.T) {
	namespace(t)
	site(t)
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // of this thread, too
		t.Fatal(err)
	}
	for _, m := range []struct {
		source string
		flags  uintptr
	}{{"", unix.MS_REC | unix.MS_PRIVATE}, {"/proc/sys", unix.MS_BIND}, {"", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY}} {
		target := "/proc/sys"
		if m.flags&unix.MS_PRIVATE != 0 {
			target = "/"
		}
		if err := unix.Mount(m.source, target, "", m.flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t)
	if got, err := f.SetReversePath(iface); err != nil || got != (ReversePath{2, 0}) || readSysctl("ipv4/conf/"+iface+"/rp_filter") != "2" {
		t.Errorf("%+v, %v", got, err)
	}
	got, err := f.SetForwarding(ForwardingSpec{Interface: iface, Networks: prefixes("10.0.0.0/24")}, nil)
	if err != nil || len(got) != 2 || readSysctl("ipv4/conf/lan0/forwarding") != "1" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := f.Restore(got); err != nil || readSysctl("ipv4/conf/lan0/forwarding") != "0" {
		t.Error(err)
	}
	if _, err := f.SetForwarding(ForwardingSpec{Interface: iface, Networks: prefixes("2001:db8::/64")}, nil); err == nil || !strings.Contains(err.Error(), "writable /proc/sys") {
		t.Errorf("error %v", err)
	}
}

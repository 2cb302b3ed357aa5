package netlink

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace moves the test's thread to a new network namespace, which ends with the
// thread, and opens a socket there.
func namespace(t *testing.T) *RTNetlink {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal("make a network namespace:", err)
	}
	r, err := OpenRTNetlink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// ip runs the commands of ip(8), one a line.
func ip(t *testing.T, commands string) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(commands)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", commands, err, out)
	}
}

func find(t *testing.T, r *RTNetlink, name string) Link {
	t.Helper()
	l, err := r.Link(name)
	if err != nil || l.Index == 0 {
		t.Fatalf("%s: %+v, %v", name, l, err)
	}
	return l
}

// What the kernel tells of interfaces is the same one by one and together.
func TestLinks(t *testing.T) {
	r := namespace(t)
	ip(t, `link add br0 type bridge
		link add v0 mtu 1300 type veth peer name v1
		link set v0 master br0
		link set v0 up
		link set v1 up
		tuntap add mode tun dev tun0`)
	want := map[string]Link{
		"lo":   {Type: unix.ARPHRD_LOOPBACK, MTU: 65536},
		"br0":  {Type: unix.ARPHRD_ETHER, Kind: "bridge", MTU: 1300},
		"v0":   {Type: unix.ARPHRD_ETHER, Kind: "veth", MTU: 1300, Up: true, OperState: OperUp, Master: find(t, r, "br0").Index},
		"v1":   {Type: unix.ARPHRD_ETHER, Kind: "veth", MTU: 1500, Up: true, OperState: OperUp},
		"tun0": {Type: unix.ARPHRD_NONE, Kind: "tun", MTU: 1500},
	}
	all, err := r.Links()
	if err != nil || len(all) != len(want) {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, l := range all {
		single, err := r.LinkAt(l.Index)
		if err != nil || single != l || find(t, r, l.Name) != l {
			t.Errorf("%+v alone is %+v, %v", l, single, err)
		}
		flags := l.Flags
		if l.Up != (flags&unix.IFF_UP != 0) || (l.Name == "lo") != (flags&unix.IFF_LOOPBACK != 0) || l.Up != (flags&unix.IFF_LOWER_UP != 0) {
			t.Errorf("%s has flags %#x", l.Name, flags)
		}
		expected := want[l.Name]
		expected.Name, expected.Index, expected.Flags = l.Name, l.Index, l.Flags
		if !l.Up {
			l.OperState = 0 // which the drivers choose
		}
		if l != expected {
			t.Errorf("%+v\nwant %+v", l, expected)
		}
	}
}

func TestChangeLink(t *testing.T) {
	r := namespace(t)
	ip(t, "link add v0 type veth peer name v1\nlink set v1 up")
	at := find(t, r, "v0").Index
	if err := errors.Join(r.SetName(at, "other"), r.SetMTU(at, 1281), r.SetNoLinkLocal(at), r.SetUp(at, true)); err != nil {
		t.Fatal(err)
	}
	if l := find(t, r, "other"); l.Index != at || l.MTU != 1281 || !l.Up {
		t.Errorf("%+v", l)
	}
	if got, err := r.Addresses(at); err != nil || len(got) != 0 {
		t.Errorf("addresses %v, %v", got, err)
	}
	if err := r.SetUp(at, false); err != nil || find(t, r, "other").Up {
		t.Errorf("set down: %v", err)
	}
	if err := r.SetName(at, "v1"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := r.SetMTU(at, 1<<30); !errors.Is(err, unix.EINVAL) {
		t.Errorf("an MTU that is too large: %v", err)
	}
	if err := r.SetUp(1<<30, true); !errors.Is(err, unix.ENODEV) {
		t.Errorf("a missing interface: %v", err)
	}
	r.Close()
	if _, err := r.LinkAt(at); !errors.Is(err, unix.EBADF) {
		t.Errorf("a closed socket: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	r := namespace(t)
	ip(t, `link add v0 type veth peer name v1
		link set v0 addrgenmode none up
		link set v1 addrgenmode none up
		addr add 192.0.2.7/24 dev v1`)
	at, other := find(t, r, "v0").Index, find(t, r, "v1").Index
	want := []Address{
		{Link: at, Prefix: netip.MustParsePrefix("192.0.0.8/32"), Scope: unix.RT_SCOPE_LINK, Flags: unix.IFA_F_PERMANENT},
		{Link: at, Prefix: netip.MustParsePrefix("10.1.0.1/32"), Peer: netip.MustParsePrefix("10.2.0.0/24"), Flags: unix.IFA_F_PERMANENT},
		{Link: at, Prefix: netip.MustParsePrefix("fd01::1/64"), Flags: unix.IFA_F_PERMANENT | unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE},
		{Link: at, Prefix: netip.MustParsePrefix("fd02::1/128"), Peer: netip.MustParsePrefix("fd03::2/72"), Flags: unix.IFA_F_PERMANENT | unix.IFA_F_NODAD},
	}
	order := func(a, b Address) int { return a.Prefix.Compare(b.Prefix) }
	slices.SortFunc(want, order)
	for range 2 { // the second time, they are there
		for _, a := range want {
			if err := r.ReplaceAddress(a); err != nil {
				t.Fatalf("%+v: %v", a, err)
			}
		}
	}
	got, err := r.Addresses(at)
	slices.SortFunc(got, order)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	all, err := r.Addresses(0)
	foreign := func(a Address) bool { return a.Link == other && a.Prefix == netip.MustParsePrefix("192.0.2.7/24") }
	if err != nil || len(all) != len(want)+1 || !slices.ContainsFunc(all, foreign) {
		t.Errorf("all: %+v, %v", all, err)
	}
	for _, a := range got {
		if err := r.DeleteAddress(a); err != nil {
			t.Errorf("delete %+v: %v", a, err)
		}
	}
	if got, err = r.Addresses(at); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v after deletion", got, err)
	}
}

// Callers tell these errors apart.
func TestAddressErrors(t *testing.T) {
	r := namespace(t)
	ip(t, "link add v0 type veth peer name v1\nlink set v0 addrgenmode none up")
	v4 := Address{Link: find(t, r, "v0").Index, Prefix: netip.MustParsePrefix("10.1.0.1/24")}
	v6 := Address{Link: v4.Link, Prefix: netip.MustParsePrefix("fd01::1/64")}
	for _, a := range []Address{v4, v6} {
		if err := r.DeleteAddress(a); !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Errorf("delete %v, which is not there: %v", a.Prefix, err)
		}
	}
	// The file is that of the writing thread's namespace.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/v0/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if err := r.ReplaceAddress(v6); !errors.Is(err, unix.EACCES) {
		t.Errorf("an address without IPv6: %v", err)
	}
	v4.Link = 1 << 30
	if err := r.ReplaceAddress(v4); !errors.Is(err, unix.ENODEV) {
		t.Errorf("an address of a missing interface: %v", err)
	}
	if got, err := r.Addresses(1 << 30); len(got) != 0 || err != nil && !errors.Is(err, unix.ENODEV) {
		t.Errorf("addresses of a missing interface: %v, %v", got, err)
	}
}

// A socket stays in the namespace in which it was opened, and the thread does not.
func TestInNamespace(t *testing.T) {
	here := namespace(t)
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	namespace(t)
	ip(t, "link add there type veth peer name other")
	var before, after unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &before); err != nil {
		t.Fatal(err)
	}
	var r *RTNetlink
	var events *Subscription
	err = InNamespace(int(own.Fd()), func() (err error) {
		if r, err = OpenRTNetlink(); err == nil {
			events, err = Subscribe(unix.NETLINK_ROUTE, 0, unix.RTNLGRP_LINK)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer events.Close()
	if err := unix.Stat("/proc/thread-self/ns/net", &after); err != nil || after.Ino != before.Ino {
		t.Errorf("the thread is in namespace %d, not %d: %v", after.Ino, before.Ino, err)
	}
	if l, err := r.Link("there"); err != nil || l.Index != 0 {
		t.Errorf("an interface of another namespace: %+v, %v", l, err)
	}
	if err := here.SetUp(find(t, here, "lo").Index, true); err != nil {
		t.Fatal(err)
	}
	if err := events.Await(func(m Message) bool { l := ParseLink(m); return l.Name == "lo" && l.Up }); err != nil {
		t.Error(err)
	}

	failed := errors.New("failed")
	if err := InNamespace(int(own.Fd()), func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := InNamespace(int(null.Fd()), func() error { t.Error("called"); return nil }); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a descriptor of no namespace: %v", err)
	}
}

// A subscription that is awaited ends with its socket, and survives lost events.
func TestAwait(t *testing.T) {
	r := namespace(t)
	ip(t, "link add v0 type veth peer name v1")
	at := find(t, r, "v0").Index
	s, err := Subscribe(unix.NETLINK_ROUTE, 0, unix.RTNLGRP_LINK)
	if err != nil {
		t.Fatal(err)
	}
	ip(t, "link set v1 mtu 1300\nlink set v0 mtu 1300")
	var seen []uint32
	if err := s.Await(func(m Message) bool { seen = append(seen, ParseLink(m).Index); return ParseLink(m).Index == at }); err != nil {
		t.Error(err)
	}
	if slices.Index(seen, at) < 1 { // after events about the other one
		t.Errorf("events about %v, want the last one about %d", seen, at)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	if err = errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		ip(t, "link set v0 mtu 1301\nlink set v0 mtu 1302")
	}
	if err := s.Await(func(Message) bool { return false }); err != nil {
		t.Errorf("lost events: %v", err)
	}
	s.Close()
	if err := s.Await(func(Message) bool { return false }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed socket: %v", err)
	}
}

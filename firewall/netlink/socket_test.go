package netlink

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// Reading needs no privileges, and every network namespace has a loopback.
func TestLink(t *testing.T) {
	r, err := OpenRTNetlink()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Port() == 0 {
		t.Error("the socket has no address")
	}
	lo, err := r.Link("lo")
	if err != nil || lo.Index == 0 {
		t.Fatalf("lo: %+v, %v", lo, err)
	}
	if name, err := r.LinkName(lo.Index); err != nil || name != "lo" {
		t.Errorf("interface %d is %q, %v", lo.Index, name, err)
	}
	if l, err := r.Link("wsnone0"); err != nil || l.Index != 0 {
		t.Errorf("a missing interface: %+v, %v", l, err)
	}
	if name, err := r.LinkName(1 << 30); err != nil || name != "" {
		t.Errorf("a missing interface: %q, %v", name, err)
	}
	if err := r.SetIPv4Conf("wsnone0", ConfRPFilter, 2); !errors.Is(err, unix.ENODEV) {
		t.Errorf("setting of a missing interface: %v", err)
	}
}

func TestSubscribe(t *testing.T) {
	if s, err := Subscribe(unix.NETLINK_ROUTE, 1, unix.RTNLGRP_LINK); err != nil {
		t.Error(err)
	} else {
		s.Close()
	}
	if _, err := Subscribe(unix.NETLINK_ROUTE, 1, 1<<20); err == nil {
		t.Error("a group that does not exist can be subscribed to")
	}
}

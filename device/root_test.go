package device_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/tun"
	"github.com/wirespan/wirespan/mesh"
)

// enterNetns moves the test into a network namespace of its own, with loopback.
func enterNetns(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Set(before); err != nil {
			t.Fatal(err) // the thread stays locked, and ends with the test
		}
		_, _ = ns.Close(), before.Close()
		runtime.UnlockOSThread()
	})
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// kernelNode returns a node whose IP stack is the kernel's.
func kernelNode(t *testing.T, i int) *node {
	t.Helper()
	link, err := tun.Open("wsdev0", mesh.DefaultMTU)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{key: newKey(), addr: ula(i)}
	n.Device, err = device.Open(device.Config{
		TUN: link, Bind: bind.New(nil), PrivateKey: n.key, FirewallMark: mesh.FirewallMark,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	if err := n.Configure(mesh.DefaultMTU, []netip.Prefix{netip.PrefixFrom(n.addr, 64)}); err != nil {
		t.Fatal(err)
	}
	return n
}

// One node on a TUN and one on a netstack: the kernel's and gVisor's stacks, and
// pings injected into both.
func TestKernelAndNetstack(t *testing.T) {
	enterNetns(t)
	a, b := kernelNode(t, 1), newNode(t, 2)
	toA := a.peer()
	toA.Endpoint = netip.AddrPort{}
	b.apply(t, toA)
	a.apply(t, b.peer())
	mustPing(t, a, b.addr)
	pingKernel(t, b, a.addr)

	l, err := b.net.ListenTCP(netip.AddrPortFrom(b.addr, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const size = 10 << 20
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, io.LimitReader(c, size)) // an echo
		_ = c.Close()
	}()
	c, err := net.Dial("tcp", netip.AddrPortFrom(b.addr, 80).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.CopyN(c, zeros{}, size) }()
	// Pings go through while both ways are busy.
	pinged := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		_, err := a.Ping(ctx, b.addr, 56)
		pinged <- err
	}()
	got, err := io.Copy(io.Discard, c)
	if err != nil || got != size {
		t.Errorf("echoed %d bytes, %v", got, err)
	}
	if err := <-pinged; err != nil {
		t.Error(err)
	}
}

// pingKernel sends echo requests until the kernel answers: it takes up an address of its own
// from a work queue, which can be long, and drops what comes before.
func pingKernel(t *testing.T, from *node, to netip.Addr) {
	t.Helper()
	all, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	for {
		ctx, cancel := context.WithTimeout(all, wait/20)
		_, err := from.Ping(ctx, to, 56)
		cancel()
		switch {
		case err == nil:
			return
		case all.Err() != nil:
			t.Fatal(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestDeviceEndsWithItsLink(t *testing.T) {
	enterNetns(t)
	n := kernelNode(t, 1)
	link, err := netlink.LinkByName("wsdev0")
	if err == nil {
		err = netlink.LinkSetDown(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Apply(nil); err != nil || n.ListenPort() == 0 {
		t.Errorf("the device ended when its link went down: %v", err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	<-n.Done()
	if err := n.Err(); err == nil || !strings.Contains(err.Error(), "wsdev0") {
		t.Errorf("Err = %v", err)
	}
	if err := n.Apply(nil); err == nil {
		t.Error("applied to a device that has stopped")
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

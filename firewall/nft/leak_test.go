package nft

import (
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// While the table is replaced again and again, and numbers and elements change, no
// packet for the mesh may leave by a link. After Remove one does, which shows that
// the test would see it.
func TestNoLeakWhileReplacing(t *testing.T) {
	namespace(t)
	tunnel(t, "wan0")
	run(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "wan0")
	run(t, "ip", "neigh", "add", "192.0.2.2", "lladdr", "02:00:00:00:00:02", "dev", "wan0")
	run(t, "ip", "route", "add", "default", "via", "192.0.2.2")
	f := open(t)
	p := policy("10.1.0.0/16")
	first := firewall.Compile(p)
	apply(t, f, first)
	leaks := listenOn(t, "peer-wan0")
	conn, err := net.Dial("udp", "10.1.2.3:9")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = conn.Write([]byte("secret")) // it is refused
			}
		}
	})
	p.Ingress = firewall.Ingress{}
	p.Numbers.Table, p.Numbers.RulePriority, p.Numbers.RoutingTable = "other", 100, 1234
	p.Numbers.TunnelMark, p.Numbers.EncryptedMark, p.Numbers.Mask = 0x200, 0x100, 0x300
	second := firewall.Compile(p)
	p.Routed = prefixes("10.1.0.0/17", "10.1.128.0/17")
	third := firewall.Compile(p)
	for range 30 {
		apply(t, f, second)
		f.table.cache = nil // so that the next one replaces the table
		apply(t, f, second)
		apply(t, f, third)
		apply(t, f, second)
		apply(t, f, first)
		apply(t, open(t), first)
	}
	close(stop)
	sender.Wait()
	if n := received(leaks); n > 0 {
		t.Errorf("%d packets left in the clear", n)
	}
	if err := f.Remove(first); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first may only return the error of an earlier one
		_, _ = conn.Write([]byte("plain"))
	}
	if received(leaks) == 0 {
		t.Error("after Remove no packet was seen, either")
	}
	_ = conn.Close()
}

// listenOn opens a socket for the IPv4 packets that an interface receives.
func listenOn(t *testing.T, name string) int {
	t.Helper()
	const ip = unix.ETH_P_IP>>8 | unix.ETH_P_IP&0xff<<8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: i.Index}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func received(fd int) (n int) {
	for {
		if _, _, err := unix.Recvfrom(fd, make([]byte, 2048), 0); err != nil {
			return n
		}
		n++
	}
}

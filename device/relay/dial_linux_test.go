package relay

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Sockets go by the control function, and those of UDP send no DF flag.
func TestSystemDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var controlled []string
	dial := SystemDial(func(network, _ string, _ syscall.RawConn) error {
		controlled = append(controlled, network)
		return nil
	})
	for _, network := range []string{"udp", "tcp"} {
		conn, err := dial(t.Context(), network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if network == "tcp" {
			continue
		}
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var value int
		var failed error
		err = raw.Control(func(fd uintptr) {
			value, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER)
		})
		if err != nil || failed != nil || value != unix.IP_PMTUDISC_DONT {
			t.Errorf("IP_MTU_DISCOVER is %d, %v, %v", value, err, failed)
		}
	}
	if len(controlled) != 2 || controlled[0] != "udp4" || controlled[1] != "tcp4" {
		t.Errorf("control was called for %q", controlled)
	}
}

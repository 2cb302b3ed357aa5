package firewall_test

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	. "github.com/wirespan/wirespan/firewall"
	firewalltest "github.com/wirespan/wirespan/testdata/firewall"
)

// TestIngressCasesInKernel sends the packets of the shared test cases through a
// TUN, and counts those that pass our chains.
func TestIngressCasesInKernel(t *testing.T) {
	privileged(t)
	cases, err := firewalltest.Cases()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	tun := openTUN(t, "wirespan0")
	sh(t, `ip link set lo up; ip link set wirespan0 up
		ip addr add 10.99.0.1/32 dev wirespan0; ip route add default dev wirespan0
		ip -6 addr add 2001:db8:99::1/128 dev wirespan0 nodad; ip -6 route add default dev wirespan0
		sysctl -qw net.ipv4.conf.wirespan0.rp_filter=0 net.ipv4.conf.all.rp_filter=0`)
	id := uint16(20000)
	for _, c := range cases {
		p := testPolicy()
		p.Ingress = c.Ingress
		rules := "table inet wirespan\ndelete table inet wirespan\n" + Compile(p).String()
		nft(t, rules+"table inet probe\ndelete table inet probe\ntable inet probe {\nchain passed {\ntype filter hook input priority 10\n}\n}\n")
		for _, packet := range c.Packets {
			id++
			nft(t, "flush chain inet probe passed\nadd rule inet probe passed iifname wirespan0 "+familyOf(packet.Source)+" saddr "+packet.Source.String()+" counter\n")
			if _, err := unix.Write(tun, encode(packet.Flow, id)); err != nil {
				t.Fatal(err)
			}
			passed := strings.Contains(sh(t, "nft list chain inet probe passed"), "packets 1 ")
			if passed != packet.Accept {
				t.Errorf("%s: %v: passes: %v, want %v", c.Name, packet, passed, packet.Accept)
			}
		}
	}
}

func familyOf(a netip.Addr) string {
	if a.Is6() {
		return "ip6"
	}
	return "ip"
}

func openTUN(t *testing.T, name string) int {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	req, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	return fd
}

func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func nft(t *testing.T, script string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, script)
	}
}

// encode returns a packet that connection tracking accepts as the first of a
// connection. The id makes the connection distinct from others.
func encode(f Flow, id uint16) []byte {
	be := binary.BigEndian
	ports := be.AppendUint16(be.AppendUint16(nil, id), f.DestinationPort)
	var l4 []byte
	sum := -1 // where the checksum is
	switch f.Protocol {
	case 6:
		l4, sum = append(ports, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, 2, 0xff, 0xff, 0, 0, 0, 0), 16
	case 17:
		l4, sum = append(ports, 0, 8, 0, 0), 6
	case 1, 58:
		kind := byte(8)
		if f.Protocol == 58 {
			kind = 128
		}
		l4, sum = be.AppendUint16([]byte{kind, 0, 0, 0}, id), 2
		l4 = append(l4, 0, 1)
	case 132: // with an INIT chunk
		l4 = append(ports, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1)
		binary.LittleEndian.PutUint32(l4[8:], crc32.Checksum(l4, crc32.MakeTable(crc32.Castagnoli)))
	default:
		l4 = make([]byte, 8)
	}
	source, destination := f.Source.AsSlice(), f.Destination.AsSlice()
	if sum >= 0 {
		pseudo := append(append([]byte{}, source...), destination...)
		pseudo = be.AppendUint32(pseudo, uint32(len(l4)))
		pseudo = append(pseudo, 0, 0, 0, f.Protocol)
		if f.Protocol == 1 {
			pseudo = nil
		}
		be.PutUint16(l4[sum:], checksum(append(pseudo, l4...)))
	}
	if f.Source.Is4() {
		head := []byte{0x45, 0, 0, byte(20 + len(l4)), 0, 1, 0x40, 0, 64, f.Protocol, 0, 0}
		head = append(append(head, source...), destination...)
		be.PutUint16(head[10:], checksum(head))
		return append(head, l4...)
	}
	head := []byte{0x60, 0, 0, 0, 0, byte(len(l4)), f.Protocol, 64}
	return append(append(append(head, source...), destination...), l4...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum + sum>>16)
}

package nft

import (
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// Packets from the port of the tunnel are counted when they have no mark, wherever
// they lost it, and reach the link. Another port's packets are not.
func TestLostMarks(t *testing.T) {
	namespace(t)
	tunnel(t, "wan0") // any link, on which no neighbour has to be found
	run(t, "ip", "link", "set", "wan0", "arp", "off")
	run(t, "ip", "address", "add", "192.0.2.1/24", "dev", "wan0")
	f := open(t)
	p := policy("10.1.0.0/16")
	p.ListenPort = 51820
	rs := firewall.Compile(p)
	apply(t, f, rs)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 51820})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(p.EncryptedMark))
	}); err != nil {
		t.Fatal(err)
	}
	send := func() {
		t.Helper()
		if _, err := conn.WriteToUDP([]byte("x"), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 9}); err != nil {
			t.Fatal(err)
		}
	}
	send()
	for _, tc := range []struct {
		chain string
		want  LostMarks
	}{
		{"output { type route hook output priority mangle; meta mark set ct mark; }", LostMarks{Output: 1}},
		{"output { type filter hook output priority 1001; meta mark set 1; }", LostMarks{Output: 1, Postrouting: 1}},
		{"late { type filter hook postrouting priority mangle; jump more; }\nchain more { ip daddr 192.0.2.0/24 meta mark set meta mark & 0xf; }", LostMarks{Output: 1, Postrouting: 2}},
		{"output { type route hook output priority 10; meta l4proto vmap { tcp : accept, udp : goto more }; }\nchain more { meta mark set 1; }", LostMarks{Output: 2, Postrouting: 2}},
	} {
		feed(t, "table inet other {\nchain more {}\nchain "+tc.chain+"\n}\n", "nft", "-f", "-")
		send()
		if got, err := f.LostMarks(rs.Table); err != nil || got != tc.want {
			t.Errorf("%s: %+v, want %+v, %v", tc.chain, got, tc.want, err)
		}
		chains, err := f.Markers(rs.Table)
		if err != nil || len(chains) != 1 || !slices.Contains([]string{"inet other output", "inet other late"}, chains[0]) {
			t.Errorf("%s: set by %v, %v", tc.chain, chains, err)
		}
		run(t, "nft", "delete table inet other")
	}
}

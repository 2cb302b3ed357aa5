package bind

import (
	"math/rand/v2"
	"net"
)

// FreePort returns a UDP port of 127.0.0.1 that no socket has. It is below the
// range from which the kernel chooses ports by itself, so that no other program is
// likely to take it before the caller does.
func FreePort() (port int, err error) {
	const first, ports, tries = 20000, 12000, 50
	for range tries {
		port = first + rand.IntN(ports)
		var c *net.UDPConn
		if c, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err == nil {
			return port, c.Close()
		}
	}
	return 0, err
}

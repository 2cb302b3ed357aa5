package proxy

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// headroom is the size of the largest header of a datagram to a client: that with an IPv6
// address.
const headroom = 3 + 1 + 16 + 2

type datagramBuffer [headroom + maxDatagram]byte

// datagramBuffers holds buffers. One is taken when there is something to read, since most
// associations are idle most of the time.
var datagramBuffers = sync.Pool{New: func() any { return new(datagramBuffer) }}

// cutDatagram reads the header of a client's datagram.
func cutDatagram(b []byte) (target, []byte, error) {
	if len(b) < 3 {
		return target{}, nil, io.ErrUnexpectedEOF
	}
	if b[0] != 0 || b[1] != 0 {
		return target{}, nil, errors.New("reserved bytes are not zero")
	}
	if b[2] != 0 {
		return target{}, nil, fmt.Errorf("fragment %d", b[2])
	}
	to, data, err := cutTarget(b[3:])
	if err == nil && to.port == 0 {
		err = errors.New("port is zero")
	}
	return to, data, err
}

package forward

import (
	"sync"
)

const maxDatagram = 64 << 10

type datagram [maxDatagram]byte

// datagrams holds buffers. A socket takes one when there is something to read, since most
// associations are idle most of the time.
var datagrams = sync.Pool{New: func() any { return new(datagram) }}

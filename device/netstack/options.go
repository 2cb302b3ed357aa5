package netstack

import (
	"fmt"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	// minBuffer and startReceive are the stack's own defaults.
	minBuffer    = tcp.MinBufferSize
	startReceive = tcp.DefaultReceiveBufferSize
	// startSend is the send buffer of a new connection. It grows to twice the congestion
	// window. The stack's default, 1 MiB, is filled at once by a program that is faster than
	// the tunnel, as all are behind a proxy: 200 of them took 200 MB.
	startSend = 128 << 10
	// maxBuffer bounds the data that each direction of a TCP connection buffers. An
	// idle connection buffers nothing. At a gigabit per second and 100 ms of
	// round-trip time, 12.5 MB are in flight. It takes twice that: the stack offers
	// half of its receive buffer as window, and wakes a writer when half of the send
	// buffer is free.
	maxBuffer = 24 << 20
	// datagramBuffer bounds the data that waits for a slow reader of a UDP socket.
	// It holds several batches from the tunnel.
	datagramBuffer = 1 << 20
	// timeWait is how long a connection that this side has closed first is remembered, to
	// answer when its last packet comes again. The stack keeps 7 KB for each, whatever their
	// number: with its default of 60 s, 1,000 short connections a second took 440 MB. Packets
	// are under way in the tunnel for less than this.
	timeWait = 5 * time.Second
	// unlimited is more than the queue can hold.
	unlimited = 1 << 30
)

// tune sets the options of the stack's sockets. Nagle's algorithm and delayed
// acknowledgements stay off: since packets are joined on receipt, one acknowledgement
// answers many packets as it is.
func tune(s *stack.Stack) error {
	sack, recovery, control := tcpip.TCPSACKEnabled(true), tcpip.TCPRACKLossDetection, tcpip.CongestionControlOption("cubic")
	moderate, wait := tcpip.TCPModerateReceiveBufferOption(true), tcpip.TCPTimeWaitTimeoutOption(timeWait)
	for _, option := range []tcpip.SettableTransportProtocolOption{
		&sack, &recovery, &control, &moderate, &wait,
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: startReceive, Max: maxBuffer},
		&tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: startSend, Max: maxBuffer},
	} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set TCP option %T of the stack: %s", option, err)
		}
	}
	// With a limited send buffer, a UDP socket waits for its packets to leave the
	// queue, and may wait for ever: it checks for room before it subscribes to
	// notifications of room. The queue's own bound is enough.
	for _, option := range []any{
		tcpip.SendBufferSizeOption{Min: minBuffer, Default: unlimited, Max: unlimited},
		tcpip.ReceiveBufferSizeOption{Min: minBuffer, Default: datagramBuffer, Max: datagramBuffer},
	} {
		if err := s.SetOption(option); err != nil {
			return fmt.Errorf("set option %T of the stack: %s", option, err)
		}
	}
	return nil
}

package netstack

import (
	"fmt"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	// minBuffer and startBuffer are the stack's own defaults.
	minBuffer   = tcp.MinBufferSize
	startBuffer = tcp.DefaultSendBufferSize
	// maxBuffer is what each direction of a TCP connection may hold, and so its
	// share of memory while it is in use; an idle one holds nothing. A gigabit
	// at 100 ms of round trip is 12.5 MB in flight. It takes twice that: the
	// stack offers half of its receive buffer as window, and wakes a writer when
	// half of the send buffer is free.
	maxBuffer = 24 << 20
	// datagramBuffer is what waits for a slow reader of a UDP socket: several
	// batches from the tunnel.
	datagramBuffer = 1 << 20
	// unlimited is more than the queue can hold.
	unlimited = 1 << 30
)

// tune sets the options of the stack's sockets. Nagle's algorithm and delayed
// acknowledgements stay off: joining packets on receipt already makes one
// acknowledgement answer many.
func tune(s *stack.Stack) error {
	sack, recovery, control := tcpip.TCPSACKEnabled(true), tcpip.TCPRACKLossDetection, tcpip.CongestionControlOption("cubic")
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	for _, option := range []tcpip.SettableTransportProtocolOption{
		&sack, &recovery, &control, &moderate,
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: startBuffer, Max: maxBuffer},
		&tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: startBuffer, Max: maxBuffer},
	} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set TCP option %T of the stack: %s", option, err)
		}
	}
	// A UDP socket would wait for its packets to leave the queue, and may sleep
	// through that: it looks for room, and begins to listen for news of it only
	// afterwards. The queue's own bound is enough.
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

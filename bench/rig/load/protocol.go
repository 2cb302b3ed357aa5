package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	protocol = "wirespan.load/1"
	// maxLine is the longest message of the protocol, in bytes.
	maxLine = 1 << 10
	// headerSize is the size of a datagram's header: session and sequence number.
	headerSize = 16
	// echoSize is the size of a round-trip probe.
	echoSize = 16
	// slack is how long senders continue after the receivers' window, so that the
	// load is the same until its end.
	slack = 50 * time.Millisecond
	// grace is how much longer than planned a test may take, since buffers drain.
	grace = 15 * time.Second
)

// hello is the first line of every TCP connection.
type hello struct {
	Protocol string `json:"protocol"`
	Test     *test  `json:"test,omitempty"`   // this connection controls a new test
	Attach   uint64 `json:"attach,omitempty"` // this connection is a stream of the session
	Down     bool   `json:"down,omitempty"`   // with Attach: the server sends
	Echo     bool   `json:"echo,omitempty"`   // the server sends probes back
}

// test describes a test to the server.
type test struct {
	UDP        bool          `json:"udp,omitempty"`
	Up         int           `json:"up"` // streams
	Down       int           `json:"down"`
	Warmup     time.Duration `json:"warmup"`
	Window     time.Duration `json:"window"`
	Congestion string        `json:"congestion,omitempty"`
}

// planned returns how long the test takes if nothing goes wrong.
func (t *test) planned() time.Duration { return t.Warmup + t.Window + slack }

// answer is the server's answer to a hello, and its message at the end of a test.
type answer struct {
	Error   string `json:"error,omitempty"`
	Session uint64 `json:"session,omitempty"`
	Result  result `json:"result"`
}

// result holds what one side counted, as receiver and as TCP sender.
type result struct {
	Bytes       uint64        `json:"bytes"`      // in all
	Window      uint64        `json:"window"`     // bytes received within Span
	Span        time.Duration `json:"span"`       // the window as it really was
	Packets     uint64        `json:"packets"`    // datagrams
	Retransmits uint64        `json:"resent"`     // segments, by the kernel's TCP
	Counted     bool          `json:"resentTold"` // Retransmits is known
}

func send(c net.Conn, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.Write(append(data, '\n'))
	return err
}

// receive reads one line into v. It reads no byte beyond the line, since payload
// may follow.
func receive(c net.Conn, v any) error {
	var line bytes.Buffer
	var b [1]byte
	for {
		if _, err := c.Read(b[:]); err != nil {
			return err
		}
		if b[0] == '\n' {
			break
		}
		if line.Len() == maxLine {
			return errors.New("message is too long")
		}
		line.WriteByte(b[0])
	}
	return json.Unmarshal(line.Bytes(), v)
}

// ask sends a hello and returns the answer.
func ask(c net.Conn, h hello) (answer, error) {
	h.Protocol = protocol
	if err := send(c, h); err != nil {
		return answer{}, err
	}
	return await(c)
}

// await reads an answer. An answer with an error is an error.
func await(c net.Conn) (answer, error) {
	var a answer
	if err := receive(c, &a); err != nil {
		return answer{}, fmt.Errorf("answer of the benchmark's server: %w", err)
	}
	if a.Error != "" {
		return answer{}, fmt.Errorf("the benchmark's server refused: %s", a.Error)
	}
	return a, nil
}

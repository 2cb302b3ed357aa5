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
	// maxLine bounds a message of the protocol.
	maxLine = 1 << 10
	// headerSize is what a datagram begins with: session and sequence number.
	headerSize = 16
	// echoSize is the size of a round-trip probe.
	echoSize = 16
	// slack is how long senders go on after the window that receivers measure,
	// so that its end is as busy as its beginning.
	slack = 50 * time.Millisecond
	// grace is how long a test may last beyond its planned time: buffers drain.
	grace = 15 * time.Second
)

// hello is the first line of every TCP connection.
type hello struct {
	Protocol string `json:"protocol"`
	Test     *test  `json:"test,omitempty"`   // controls a new test
	Attach   uint64 `json:"attach,omitempty"` // is a stream of this test
	Down     bool   `json:"down,omitempty"`   // the stream flows to the client
	Echo     bool   `json:"echo,omitempty"`   // every probe comes back
}

// test is what the server must know of a test.
type test struct {
	UDP        bool          `json:"udp,omitempty"`
	Up         int           `json:"up"` // streams
	Down       int           `json:"down"`
	Warmup     time.Duration `json:"warmup"`
	Window     time.Duration `json:"window"`
	Congestion string        `json:"congestion,omitempty"`
}

// planned is how long the test takes if nothing goes wrong.
func (t *test) planned() time.Duration { return t.Warmup + t.Window + slack }

// answer is what the server says to a hello, and at the end of a test.
type answer struct {
	Error   string `json:"error,omitempty"`
	Session uint64 `json:"session,omitempty"`
	Result  result `json:"result"`
}

// result is what one side saw as the receiver, and as a TCP sender.
type result struct {
	Bytes       uint64        `json:"bytes"`      // in all
	Window      uint64        `json:"window"`     // bytes within Span
	Span        time.Duration `json:"span"`       // as it really was
	Packets     uint64        `json:"packets"`    // datagrams
	Retransmits uint64        `json:"resent"`     // by the kernel's TCP
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

// receive reads one line and not a byte beyond it, since payload may follow.
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

// ask says hello and returns the answer.
func ask(c net.Conn, h hello) (answer, error) {
	h.Protocol = protocol
	if err := send(c, h); err != nil {
		return answer{}, err
	}
	return await(c)
}

func await(c net.Conn) (answer, error) {
	var a answer
	if err := receive(c, &a); err != nil {
		return answer{}, fmt.Errorf("answer of the measuring server: %w", err)
	}
	if a.Error != "" {
		return answer{}, fmt.Errorf("the measuring server refused: %s", a.Error)
	}
	return a, nil
}

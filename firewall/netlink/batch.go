package netlink

import (
	"encoding/binary"
	"errors"
	"iter"

	"golang.org/x/sys/unix"
)

// batchGeneration is NFNL_BATCH_GENID, which package unix lacks.
const batchGeneration = 1

// Batch is one nftables transaction: the kernel makes all of its changes, or
// none.
type Batch struct {
	Encoder
	socket *socket
	first  uint32 // sequence number of the message that begins the batch
	last   int    // offset of the last message
	count  int    // of the messages in between
}

// BatchError says which message of a batch the kernel refused.
type BatchError struct {
	Index int // in the order of Add
	Err   error
}

func (e *BatchError) Error() string { return e.Err.Error() }
func (e *BatchError) Unwrap() error { return e.Err }

// NewBatch starts a transaction. It will fail with ERESTART if nftables are in
// another generation by then.
func (n *Nftables) NewBatch(generation uint32) *Batch {
	b := &Batch{socket: &n.socket, first: n.next()}
	at := b.border(unix.NFNL_MSG_BATCH_BEGIN, b.first)
	b.Uint32BE(batchGeneration, generation)
	b.End(at)
	return b
}

// border appends the message that begins or ends the batch.
func (b *Batch) border(typ uint16, seq uint32) int {
	at := b.begin(typ, 0, seq)
	b.b = append(b.b, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	b.b = binary.BigEndian.AppendUint16(b.b, unix.NFNL_SUBSYS_NFTABLES)
	return at
}

// Add starts a message. It returns the offset that End needs.
func (b *Batch) Add(typ, flags uint16) int {
	b.count++
	b.last = b.begin(nftType(typ), flags, b.socket.next())
	b.b = append(b.b, nftHeader...)
	return b.last
}

// Empty reports whether the batch changes nothing.
func (b *Batch) Empty() bool { return b.count == 0 }

// Commit sends the transaction. It returns a *[BatchError] if the kernel refused
// one of the messages.
//
// Every error is answered. Success is acknowledged for the last message only,
// because acknowledgements of all would not fit into the receive buffer.
func (b *Batch) Commit() error {
	b.acknowledgeLast()
	b.End(b.border(unix.NFNL_MSG_BATCH_END, b.socket.next()))
	return b.exchange()
}

// Check asks whether the kernel would take the messages, as Commit does. The kernel
// undoes a batch without an end, starts no generation for it, and sends no events.
func (b *Batch) Check() error {
	b.acknowledgeLast()
	return b.exchange()
}

// Messages returns the messages between begin and end, in the order of Add.
func (b *Batch) Messages() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for m := range Messages(b.b) {
			if m.Type>>8 == unix.NFNL_SUBSYS_NFTABLES && !yield(m) {
				return
			}
		}
	}
}

func (b *Batch) acknowledgeLast() {
	flags := binary.NativeEndian.Uint16(b.b[b.last+6:])
	binary.NativeEndian.PutUint16(b.b[b.last+6:], flags|unix.NLM_F_ACK)
}

// exchange sends the batch, and returns the first error of the answers.
func (b *Batch) exchange() error {
	if err := b.socket.send(b.b); err != nil {
		return err
	}
	var failed error
	var at uint32 // sequence number of the message that failed
	for done := false; ; {
		got, err := b.socket.receive()
		switch {
		case errors.Is(err, unix.EAGAIN) && failed == nil && !done:
			return errNoAnswer
		case errors.Is(err, unix.EAGAIN):
			return failed
		case errors.Is(err, unix.ENOBUFS): // the errors overflowed the receive buffer
			if failed == nil {
				failed, at = err, b.socket.seq
			}
			continue
		case err != nil:
			return err
		}
		for m := range got {
			if m.Type != unix.NLMSG_ERROR || m.Seq-b.first > b.socket.seq-b.first {
				continue
			}
			err := errorOf(m)
			done = done || err == nil
			if err != nil && (failed == nil || m.Seq < at) {
				at, failed = m.Seq, b.blame(m.Seq, err)
			}
		}
	}
}

// blame adds to an error which message it is about. The kernel reports errors of
// the transaction as a whole at the message that begins it.
func (b *Batch) blame(seq uint32, err error) error {
	if i := int(seq-b.first) - 1; i >= 0 && i < b.count {
		return &BatchError{i, err}
	}
	return err
}

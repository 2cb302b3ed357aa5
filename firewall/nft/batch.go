package nft

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// Of linux/netfilter/nfnetlink.h and nf_tables.h, where package unix lacks them.
const (
	nlaTypeMask          = 0x3fff
	nfnlBatchGenID       = 1
	nftaTableHandle      = 4
	nftaTableUserdata    = 6
	nftaChainFlags       = 10
	nftaSetHandle        = 16
	nftTableOwnerFlag    = 2
	udataTableComment    = 0
	udataSetKeyByteOrder = 0
)

// batch is one nftables transaction: all of it happens, or nothing.
type batch struct {
	encoder
	socket *socket
	first  uint32 // number of the message that begins it
	last   int    // where the last message starts
	steps  []step // of the messages in between
}

// step says what a message of a batch does, for errors.
type step struct {
	what  string
	chain int // index of the chain that it adds (a rule to)
	rule  int // index in the chain of the rule that it adds; -1: none
}

// commitError says which step of a transaction the kernel refused.
type commitError struct {
	step step
	err  error
}

func (e *commitError) Error() string { return e.step.what + ": " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// newBatch starts a transaction that fails with ERESTART if nftables are not in
// this generation any more.
func newBatch(s *socket, generation uint32) *batch {
	b := &batch{socket: s, first: s.next()}
	at := b.border(unix.NFNL_MSG_BATCH_BEGIN, b.first)
	b.be32(nfnlBatchGenID, generation)
	b.end(at)
	return b
}

func (b *batch) border(typ uint16, seq uint32) int {
	at := b.message(typ, 0, seq)
	b.b = append(b.b, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	b.b = binary.BigEndian.AppendUint16(b.b, unix.NFNL_SUBSYS_NFTABLES)
	return at
}

// add starts a message of the transaction.
func (b *batch) add(typ, flags uint16, what step) int {
	b.steps = append(b.steps, what)
	b.last = b.message(nftType(typ), flags, b.socket.next())
	b.b = append(b.b, unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0)
	return b.last
}

func (b *batch) empty() bool { return len(b.steps) == 0 }

// commit sends the transaction. Every error comes by itself; success is asked
// for with the last message only, since many answers would not fit into the
// receive buffer.
func (b *batch) commit() error {
	flags := binary.NativeEndian.Uint16(b.b[b.last+6:])
	binary.NativeEndian.PutUint16(b.b[b.last+6:], flags|unix.NLM_F_ACK)
	b.end(b.border(unix.NFNL_MSG_BATCH_END, b.socket.next()))
	if err := b.socket.send(b.b); err != nil {
		return err
	}
	var failed error
	var at uint32 // number of the message that failed
	for done := false; ; {
		got, err := b.socket.receive()
		switch {
		case errors.Is(err, unix.EAGAIN) && failed == nil && !done:
			return errNoAnswer
		case errors.Is(err, unix.EAGAIN):
			return failed
		case errors.Is(err, unix.ENOBUFS): // more errors than there is room for
			if failed == nil {
				failed, at = err, b.socket.seq
			}
			continue
		case err != nil:
			return err
		}
		for m := range got {
			if m.typ != unix.NLMSG_ERROR || m.seq-b.first > b.socket.seq-b.first {
				continue
			}
			err := kernelError(m)
			done = done || err == nil
			if err != nil && (failed == nil || m.seq < at) {
				at, failed = m.seq, b.blame(m.seq, err)
			}
		}
	}
}

// blame tells an error's step; the kernel answers to the beginning what
// concerns the transaction as a whole.
func (b *batch) blame(seq uint32, err error) error {
	if i := int(seq-b.first) - 1; i >= 0 && i < len(b.steps) {
		return &commitError{b.steps[i], err}
	}
	return err
}

func nftType(typ uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | typ }

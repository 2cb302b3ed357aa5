package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// SequenceFile holds the highest sequence that this node may have signed a record with.
const SequenceFile = "sequence.json"

// sequenceBlock is how many sequences are reserved at once. Few writes wear out a flash
// disk less; after a restart the rest of a block is left out.
const sequenceBlock = 1 << 16

// Sequence hands out the sequences of this node's records, which only grow.
type Sequence struct {
	state    *Dir
	last     uint64
	reserved uint64 // all up to this one are on disk as used
}

// OpenSequence reads what was reserved. A damaged file counts as missing: the clock and
// this node's own records, which discovery has, still tell what was used.
func OpenSequence(st *Dir) (*Sequence, error) {
	s := &Sequence{state: st}
	data, err := st.Read(SequenceFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	var doc struct{ Reserved uint64 }
	if json.Unmarshal(data, &doc) == nil {
		s.last, s.reserved = doc.Reserved, doc.Reserved
	}
	return s, nil
}

// Next returns a sequence that is higher than all before, than seen, and at least the
// time now in milliseconds. Before it is used, Keep should write it.
func (s *Sequence) Next(now time.Time, seen uint64) uint64 {
	s.last = max(s.last, seen) + 1
	if ms := now.UnixMilli(); ms > 0 {
		s.last = max(s.last, uint64(ms))
	}
	return s.last
}

// Keep writes what Next has returned, unless it is reserved. After an error, only the clock
// and discovery keep a sequence from being used again after a restart.
func (s *Sequence) Keep() error {
	if s.last <= s.reserved {
		return nil
	}
	reserved := s.last + sequenceBlock
	if err := s.state.Replace(SequenceFile, fmt.Appendf(nil, "{\"Reserved\":%d}\n", reserved)); err != nil {
		return fmt.Errorf("%w: make the state directory writable and free some space; until then, others may take this node's records for old ones after a restart with a wrong clock", err)
	}
	s.reserved = reserved
	return nil
}

package rpc

import "io"

// data takes a DATA frame.
func (r *reader) data(f frame) error {
	r.mu.Lock()
	s, err := r.lookup(f.stream)
	if err == nil {
		err = r.charge(s, f.size)
	}
	early := s != nil && s.head == nil
	r.mu.Unlock()
	if err != nil {
		return err
	}
	content, pad, err := r.padding(f, 0)
	empty := content == 0 && !f.has(endStream)
	if err == nil && empty {
		err = r.carriesNothing()
	}
	if err != nil {
		return err
	}
	kept, rest := 0, content
	if s != nil && !early && !empty {
		r.carriesAnswer()
		if kept, rest, err = r.fill(s, content); err != nil {
			return err
		}
	}
	if _, err := r.in.Discard(rest + pad); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s == nil {
		r.usedConnection(f.size)
		return nil
	}
	r.used(s, f.size-kept)
	if early {
		return &violation{protocolError, f.stream, "data before a header"}
	}
	if s.open && f.has(endStream) {
		r.finish(s)
	}
	return nil
}

// fill reads n bytes into the buffer of a stream. It returns how many it has kept there,
// and how many are still to be read, if the stream ends meanwhile.
func (r *reader) fill(s *Stream, n int) (kept, rest int, err error) {
	for rest = n; rest > 0; {
		r.mu.Lock()
		if !s.open {
			r.mu.Unlock()
			return kept, rest, nil
		}
		room := s.in.room()
		r.mu.Unlock()
		room = room[:min(len(room), rest)]
		if _, err := io.ReadFull(r.in, room); err != nil {
			return kept, rest, err
		}
		rest -= len(room)
		r.mu.Lock()
		if s.open {
			s.in.wrote(len(room))
			kept += len(room)
			s.notify()
		}
		r.mu.Unlock()
	}
	return kept, 0, nil
}

package rpc

import "io"

const (
	maxParts         = 32 // frames of one header
	maxInformational = 8  // headers with a status 1xx before that of the answer
)

// headers takes a HEADERS frame and the CONTINUATION frames after it.
func (r *reader) headers(f frame) error {
	r.mu.Lock()
	s, err := r.lookup(f.stream)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	block, err := r.headerBlock(f)
	if err != nil {
		return err
	}
	h, wrong, err := decode(r.decoder, block)
	if err != nil {
		return &violation{compressionError, 0, "a header that can't be decoded"}
	}
	if s == nil {
		return r.carriesNothing()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !s.open {
		return nil
	}
	if wrong == "" {
		wrong = s.header(h, f.has(endStream))
	}
	if wrong != "" {
		return &violation{protocolError, s.id, wrong}
	}
	if f.has(endStream) {
		r.finish(s)
	}
	r.carriesAnswer()
	s.notify()
	return nil
}

// headerBlock reads the whole block of a header.
func (r *reader) headerBlock(f frame) ([]byte, error) {
	skip := 0
	if f.has(priority) {
		skip = 5
	}
	content, pad, err := r.padding(f, skip)
	if err != nil {
		return nil, err
	}
	block := make([]byte, content)
	if _, err := io.ReadFull(r.in, block); err != nil {
		return nil, err
	}
	if _, err := r.in.Discard(pad); err != nil {
		return nil, err
	}
	stream := f.stream
	for parts := 1; !f.has(endHeaders); parts++ {
		if f, err = r.next(); err != nil {
			return nil, err
		}
		have := len(block)
		switch {
		case f.kind != continuationFrame || f.stream != stream:
			return nil, &violation{protocolError, 0, "another frame within a header"}
		case parts == maxParts || have+f.size > maxHeaderSize:
			return nil, &violation{enhanceYourCalm, 0, "a header larger than the limit"}
		}
		block = append(block, make([]byte, f.size)...)
		if _, err := io.ReadFull(r.in, block[have:]); err != nil {
			return nil, err
		}
	}
	return block, nil
}

// header takes a header or trailer of the answer. It returns what is wrong with it. The
// lock is held.
func (s *Stream) header(h header, end bool) (wrong string) {
	switch {
	case s.head != nil && !end:
		return "a second header"
	case s.head != nil && h.httpStatus != "":
		return "a trailer with an HTTP status"
	case s.head != nil:
		s.trailer = &h
	case h.httpStatus == "":
		return "a header without an HTTP status"
	case h.httpStatus[0] != '1':
		s.head = &h
	case end:
		return "an interim answer that ends the stream"
	default:
		if s.interim++; s.interim > maxInformational {
			return "too many interim answers"
		}
	}
	return ""
}

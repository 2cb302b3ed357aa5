package server

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"math"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/wirespan/wirespan/discovery"
)

// The snapshot file has Sidero's format: a protobuf message StateSnapshot.
//
//	StateSnapshot     1 repeated ClusterSnapshot
//	ClusterSnapshot   1 id, 2 repeated AffiliateSnapshot
//	AffiliateSnapshot 1 id, 2 expiration (old), 3 data, 4 repeated EndpointSnapshot, 5 ttl
//	EndpointSnapshot  1 expiration (old), 2 data, 3 ttl
//
// ttl is the life that was left when the file was written, so that the time in
// which the server is stopped does not count. Older files have expiration, an
// absolute time; ttl has precedence.

type clusterSnapshot struct {
	id         string
	affiliates []affiliateSnapshot
}

type affiliateSnapshot struct {
	id        string
	data      []byte
	endpoints []endpointSnapshot
	ttl       time.Duration
}

type endpointSnapshot struct {
	data []byte
	ttl  time.Duration
}

// writeSnapshot encodes clusters one by one and returns the size of the file.
func writeSnapshot(w io.Writer, clusters []clusterSnapshot) (size int, err error) {
	var buf, msg []byte
	for _, c := range clusters {
		msg = appendCluster(msg[:0], c)
		buf = appendBytes(buf[:0], 1, msg)
		if _, err := w.Write(buf); err != nil {
			return 0, err
		}
		size += len(buf)
	}
	return size, nil
}

func appendCluster(b []byte, c clusterSnapshot) []byte {
	b = appendBytes(b, 1, []byte(c.id))
	var msg []byte
	for _, a := range c.affiliates {
		msg = appendBytes(msg[:0], 1, []byte(a.id))
		msg = appendBytes(msg, 3, a.data)
		for _, e := range a.endpoints {
			msg = appendBytes(msg, 4, appendDuration(appendBytes(nil, 2, e.data), 3, e.ttl))
		}
		msg = appendDuration(msg, 5, a.ttl)
		b = appendBytes(b, 2, msg)
	}
	return b
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

// appendDuration writes whole seconds, rounded down.
func appendDuration(b []byte, num protowire.Number, d time.Duration) []byte {
	seconds := protowire.AppendTag(nil, 1, protowire.VarintType)
	return appendBytes(b, num, protowire.AppendVarint(seconds, uint64(d/time.Second)))
}

// parseSnapshot decodes a file. It needs now only for the expiration fields of old
// files. The result shares no memory with b.
func parseSnapshot(b []byte, now time.Time) ([]clusterSnapshot, error) {
	var out []clusterSnapshot
	for f, err := range fields(b) {
		if err != nil {
			return nil, err
		}
		if !f.is(1, protowire.BytesType) {
			continue
		}
		c, err := parseCluster(f.bytes(), now)
		if err != nil {
			return nil, fmt.Errorf("cluster %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func parseCluster(b []byte, now time.Time) (c clusterSnapshot, err error) {
	for f, err := range fields(b) {
		switch {
		case err != nil:
			return c, err
		case f.is(1, protowire.BytesType):
			c.id = string(f.bytes())
		case f.is(2, protowire.BytesType):
			a, err := parseAffiliate(f.bytes(), now)
			if err != nil {
				return c, fmt.Errorf("affiliate %d: %w", len(c.affiliates)+1, err)
			}
			c.affiliates = append(c.affiliates, a)
		}
	}
	if len(c.id) > discovery.MaxClusterIDLength || !validID(c.id) {
		return c, fmt.Errorf("id of %d bytes is not valid", len(c.id))
	}
	return c, nil
}

func parseAffiliate(b []byte, now time.Time) (a affiliateSnapshot, err error) {
	var ttl life
	for f, err := range fields(b) {
		switch {
		case err != nil:
			return a, err
		case f.is(1, protowire.BytesType):
			a.id = string(f.bytes())
		case f.is(3, protowire.BytesType):
			a.data = bytes.Clone(f.bytes())
		case f.is(4, protowire.BytesType):
			e, err := parseEndpoint(f.bytes(), now)
			if err != nil {
				return a, fmt.Errorf("endpoint %d: %w", len(a.endpoints)+1, err)
			}
			a.endpoints = append(a.endpoints, e)
		case f.is(2, protowire.BytesType), f.is(5, protowire.BytesType):
			if err := ttl.read(f.bytes(), f.num == 5, now); err != nil {
				return a, err
			}
		}
	}
	a.ttl = ttl.left
	if len(a.id) > discovery.MaxAffiliateIDLength || !validID(a.id) || len(a.data) > discovery.MaxAffiliateDataSize {
		return a, fmt.Errorf("id of %d bytes or data of %d bytes is not valid", len(a.id), len(a.data))
	}
	return a, nil
}

func parseEndpoint(b []byte, now time.Time) (e endpointSnapshot, err error) {
	var ttl life
	for f, err := range fields(b) {
		switch {
		case err != nil:
			return e, err
		case f.is(2, protowire.BytesType):
			e.data = bytes.Clone(f.bytes())
		case f.is(1, protowire.BytesType), f.is(3, protowire.BytesType):
			if err := ttl.read(f.bytes(), f.num == 3, now); err != nil {
				return e, err
			}
		}
	}
	e.ttl = ttl.left
	if len(e.data) > discovery.MaxEndpointSize {
		return e, fmt.Errorf("%d bytes of data are too many", len(e.data))
	}
	return e, nil
}

// life is the remaining life of an affiliate or endpoint.
type life struct {
	left  time.Duration
	final bool // read from ttl, which expiration does not change
}

// read reads a Timestamp or, with isTTL, a Duration. Both have the fields 1 seconds
// and 2 nanos.
func (l *life) read(b []byte, isTTL bool, now time.Time) error {
	var seconds, nanos int64
	for f, err := range fields(b) {
		switch {
		case err != nil:
			return err
		case f.is(1, protowire.VarintType):
			seconds = f.varint()
		case f.is(2, protowire.VarintType):
			nanos = f.varint()
		}
	}
	// A year is far more than any valid TTL, and does not overflow.
	const far = int64(365 * 24 * time.Hour / time.Second)
	switch {
	case isTTL:
		l.left, l.final = time.Duration(min(max(seconds, -far), far))*time.Second, true
	case !l.final:
		seconds = min(max(seconds, math.MinInt32), math.MaxUint32)
		l.left = min(max(time.Unix(seconds, nanos%int64(time.Second)).Sub(now), 0), discovery.MaxTTL)
	}
	l.left = min(l.left, discovery.MaxTTL)
	return nil
}

// field is one field of a protobuf message, its value still encoded.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	value []byte
}

func (f field) is(num protowire.Number, typ protowire.Type) bool { return f.num == num && f.typ == typ }

func (f field) bytes() []byte {
	v, _ := protowire.ConsumeBytes(f.value)
	return v
}

func (f field) varint() int64 {
	v, _ := protowire.ConsumeVarint(f.value)
	return int64(v)
}

// fields yields the fields of a message in order. An error ends the sequence.
func fields(b []byte) iter.Seq2[field, error] {
	return func(yield func(field, error) bool) {
		for len(b) > 0 {
			num, typ, n := protowire.ConsumeTag(b)
			if n < 0 {
				yield(field{}, protowire.ParseError(n))
				return
			}
			size := protowire.ConsumeFieldValue(num, typ, b[n:])
			if size < 0 {
				yield(field{}, protowire.ParseError(size))
				return
			}
			if !yield(field{num, typ, b[n : n+size]}, nil) {
				return
			}
			b = b[n+size:]
		}
	}
}

// validID reports whether a request could have created the id. An id that is not
// UTF-8 would make every answer with it fail, since it is a protobuf string.
func validID(id string) bool { return id != "" && utf8.ValidString(id) }

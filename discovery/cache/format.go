package cache

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

// Limits of the file.
const (
	maxSize    = 4 << 20 // bytes
	maxEntries = 4096
	maxSources = 8       // of an entry
	maxName    = 300     // bytes, of a source
	maxEntry   = 8 << 10 // bytes, of an affiliate
)

const magic = "wirespan affiliates 1\n"

var errMalformed = errors.New("malformed")

// seal returns the content of the file for a body and the times of its entries.
func seal(key [32]byte, body, times []byte) []byte {
	aead := newGCM(key)
	out := make([]byte, len(magic)+aead.NonceSize(), len(magic)+aead.NonceSize()+len(body)+len(times)+binary.MaxVarintLen64+aead.Overhead())
	copy(out, magic)
	nonce := out[len(magic):]
	_, _ = rand.Read(nonce) // does not fail
	plain := binary.AppendUvarint(make([]byte, 0, cap(out)), uint64(len(body)))
	plain = append(append(plain, body...), times...)
	return aead.Seal(out, nonce, plain, []byte(magic))
}

// open reverses seal.
func open(key [32]byte, data []byte) (body, times []byte, err error) {
	aead := newGCM(key)
	sealed, found := bytes.CutPrefix(data, []byte(magic))
	if !found || len(sealed) < aead.NonceSize() {
		return nil, nil, errors.New("not a cache of affiliates, or torn")
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(magic))
	if err != nil {
		return nil, nil, errors.New("written with other keys, or damaged")
	}
	r := reader{plain}
	body, err = r.bytes(maxSize)
	return body, r.rest, err
}

// keyOf derives the key of the file.
func keyOf(own, secret mesh.Secret, cluster string) [32]byte {
	a, b := secret.Reveal(), own.Reveal()
	key, err := hkdf.Key(sha256.New, append(a[:], b[:]...), nil, "wirespan discovery cache 1\x00"+cluster, 32)
	if err != nil { // only a longer key fails
		panic(err)
	}
	return [32]byte(key)
}

func newGCM(key [32]byte) cipher.AEAD {
	b, err := aes.NewCipher(key[:])
	if err != nil { // only another length fails
		panic(err)
	}
	g, err := cipher.NewGCM(b)
	if err != nil { // only another block size fails
		panic(err)
	}
	return g
}

// encode returns the entries and, apart from them, when each was confirmed. It leaves out
// what is beyond the limits.
func encode(list []discovery.Remembered) (body, times []byte) {
	for i := range list[:min(len(list), maxEntries)] {
		e := &list[i]
		a := codec.EncodePlain(e.Affiliate)
		if len(a) > maxEntry {
			continue
		}
		if len(body)+len(a) > maxSize/2 {
			break
		}
		sources := e.Sources[:min(len(e.Sources), maxSources)]
		body = binary.AppendUvarint(body, uint64(len(sources)))
		for _, s := range sources {
			body = appendBytes(body, s)
		}
		body = appendBytes(body, a)
		var unix int64
		if !e.Confirmed.IsZero() {
			unix = e.Confirmed.Unix()
		}
		times = binary.AppendVarint(times, unix)
	}
	return body, times
}

// decode reverses encode.
func decode(body, times []byte) (list []discovery.Remembered, err error) {
	b, t := reader{body}, reader{times}
	for len(b.rest) > 0 {
		if len(list) == maxEntries {
			return nil, errMalformed
		}
		e, err := b.entry()
		if err != nil {
			return nil, err
		}
		unix, n := binary.Varint(t.rest)
		if n <= 0 {
			return nil, errMalformed
		}
		t.rest = t.rest[n:]
		if unix != 0 {
			e.Confirmed = time.Unix(unix, 0).UTC()
		}
		if len(list) > 0 && list[len(list)-1].Affiliate.NodeID >= e.Affiliate.NodeID {
			return nil, errMalformed
		}
		list = append(list, e)
	}
	return list, nil
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// reader reads what is left.
type reader struct{ rest []byte }

func (r *reader) number(limit uint64) (uint64, error) {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > limit {
		return 0, errMalformed
	}
	r.rest = r.rest[n:]
	return v, nil
}

func (r *reader) bytes(limit uint64) ([]byte, error) {
	n, err := r.number(min(limit, uint64(len(r.rest))))
	if err != nil || n > uint64(len(r.rest)) {
		return nil, errMalformed
	}
	v := r.rest[:n]
	r.rest = r.rest[n:]
	return v, nil
}

func (r *reader) entry() (e discovery.Remembered, err error) {
	n, err := r.number(maxSources)
	if err != nil {
		return e, err
	}
	for range n {
		name, err := r.bytes(maxName)
		if err != nil {
			return e, err
		}
		e.Sources = append(e.Sources, string(name))
	}
	plain, err := r.bytes(maxEntry)
	if err != nil {
		return e, err
	}
	if e.Affiliate, err = codec.DecodePlain(plain); err != nil {
		return e, err
	}
	if _, err := mesh.DecodeNodeID(e.Affiliate.NodeID); err != nil {
		return e, fmt.Errorf("an affiliate: %w", err)
	}
	return e, nil
}

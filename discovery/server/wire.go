package server

import (
	"net/netip"
	"runtime"
	"sync"

	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// rawMessage is a message as it came, not decoded.
type rawMessage []byte

// wire is the server's codec: it decodes nothing, since requests have to pass the gate
// first, and counts the bytes of an [answer].
type wire struct{ encoding.CodecV2 }

func newWire() wire { return wire{encoding.GetCodecV2(encodingproto.Name)} }

func (w wire) Unmarshal(data mem.BufferSlice, v any) error {
	raw, ok := v.(*rawMessage)
	if !ok {
		return w.CodecV2.Unmarshal(data, v)
	}
	*raw = make([]byte, data.Len())
	data.CopyTo(*raw)
	return nil
}

func (w wire) Marshal(v any) (mem.BufferSlice, error) {
	if a, ok := v.(*answer); ok {
		return mem.BufferSlice{mem.NewBuffer(&a.data, a)}, nil
	}
	return w.CodecV2.Marshal(v)
}

// answer is an encoded message with all affiliates of a cluster. It counts in the pool
// of answers until it is on its way: a client that does not read holds megabytes, which
// lie in the connection's queue, out of reach for us.
//
// It is the [mem.BufferPool] of its own buffer, to be told when that is not needed any
// more. gRPC does not tell when a connection breaks; then the garbage collector does.
type answer struct {
	data    []byte
	release func()
}

// newAnswer encodes m. It returns nil if the pool has no room.
func newAnswer(p *pool, key netip.Prefix, m proto.Message) (*answer, error) {
	size := proto.Size(m)
	if !p.take(key, size) {
		return nil, errAnswers
	}
	release := sync.OnceFunc(func() { p.put(key, size) })
	data, err := proto.Marshal(m)
	if err != nil {
		release()
		return nil, err
	}
	a := &answer{data, release}
	if mem.IsBelowBufferPoolingThreshold(cap(data)) {
		release() // gRPC does not tell of small ones
		return a, nil
	}
	runtime.AddCleanup(a, func(release func()) { release() }, release)
	return a, nil
}

// Get implements [mem.BufferPool]; gRPC does not call it.
func (a *answer) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put implements [mem.BufferPool].
func (a *answer) Put(*[]byte) { a.release() }

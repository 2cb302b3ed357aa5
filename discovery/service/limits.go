package service

import (
	"errors"
	"fmt"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/wirespan/wirespan/discovery"
)

// What a message may hold follows from the limits of the protocol, with some bytes for
// the tag and length of each field.
const (
	overhead         = 8
	maxAffiliateSize = discovery.MaxAffiliateIDLength + discovery.MaxAffiliateDataSize +
		discovery.MaxEndpoints*(discovery.MaxEndpointSize+overhead) + 4*overhead
	maxSnapshotSize = discovery.MaxAffiliates * maxAffiliateSize // 5 MB
	maxAnswerSize   = 4 << 10                                    // of requests that return no affiliates

	// A server sends one affiliate per change; a few leave it the freedom to join some.
	maxDeltaAffiliates = 8
	maxDeltaSize       = maxDeltaAffiliates * maxAffiliateSize

	// More affiliates than the limit are a problem that the table reports. What is far
	// beyond it is not decoded.
	maxEntries = 2 * discovery.MaxAffiliates
)

// wire is the client's codec. It counts the entries of a message before it decodes them:
// an empty affiliate is 2 bytes on the wire, and over 100 in memory.
type wire struct{ encoding.CodecV2 }

func newWire() wire { return wire{encoding.GetCodecV2(encodingproto.Name)} }

// snapshot receives the first message of a watch.
type snapshot struct{ *pb.WatchResponse }

func (w wire) Unmarshal(data mem.BufferSlice, v any) error {
	affiliates := maxEntries
	switch m := v.(type) {
	case snapshot:
		v = m.WatchResponse
	case *pb.ListResponse:
	case *pb.WatchResponse:
		affiliates = maxDeltaAffiliates
		if data.Len() > maxDeltaSize {
			return fmt.Errorf("a change has %d bytes, the limit is %d", data.Len(), maxDeltaSize)
		}
	default:
		return w.CodecV2.Unmarshal(data, v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	if err := countEntries(buf.ReadOnlyData(), affiliates); err != nil {
		return err
	}
	return w.CodecV2.Unmarshal(mem.BufferSlice{buf}, v)
}

var errEntries = errors.New("the message has more affiliates or endpoints than a cluster may have")

// countEntries checks the number of affiliates, which are field 1 of an answer, and that
// of their endpoints, which are field 3 of an affiliate.
func countEntries(b []byte, affiliates int) error {
	endpoints := affiliates * discovery.MaxEndpoints
	return each(b, 1, func(affiliate []byte) error {
		if affiliates--; affiliates < 0 {
			return errEntries
		}
		return each(affiliate, 3, func([]byte) error {
			if endpoints--; endpoints < 0 {
				return errEntries
			}
			return nil
		})
	})
}

// each calls f with the values of a field of bytes.
func each(b []byte, want protowire.Number, f func([]byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return protowire.ParseError(size)
		}
		if num == want && typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b[n:])
			if err := f(v); err != nil {
				return err
			}
		}
		b = b[n+size:]
	}
	return nil
}

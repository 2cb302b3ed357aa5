package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/rpc"
	"github.com/wirespan/wirespan/discovery/wire"
)

// cluster calls the methods of sidero.discovery.server.Cluster.
type cluster struct{ *rpc.Conn }

const methods = "/sidero.discovery.server.Cluster/"

// helloAnswer is a HelloResponse.
type helloAnswer struct {
	redirects bool
	redirect  string // host:port
	clientIP  []byte
}

func (c cluster) hello(ctx context.Context, clusterID, version string) (helloAnswer, error) {
	request := wire.AppendPresent(wire.AppendPresent(nil, 1, clusterID), 2, version)
	b, err := c.Call(ctx, methods+"Hello", request, maxAnswerSize)
	if err != nil {
		return helloAnswer{}, err
	}
	return decodeHello(b)
}

func decodeHello(b []byte) (h helloAnswer, err error) {
	f := wire.Read(b)
	for f.Next() {
		switch f.Number {
		case 1:
			h.redirects = true
			redirect := wire.Read(f.Bytes())
			for redirect.Next() {
				if redirect.Number == 1 {
					h.redirect = string(redirect.Bytes())
				}
			}
			if redirect.Err() != nil {
				return h, malformed("Hello", redirect.Err())
			}
		case 2:
			h.clientIP = f.Bytes()
		}
	}
	return h, malformed("Hello", f.Err())
}

// update is an AffiliateUpdateRequest.
type update struct {
	clusterID, affiliateID string
	data                   []byte // nil: as it is
	endpoints              [][]byte
	ttl                    time.Duration
}

func (u update) encode() []byte {
	b := wire.AppendPresent(wire.AppendPresent(nil, 1, u.clusterID), 2, u.affiliateID)
	b = wire.AppendPresent(b, 3, u.data)
	for _, e := range u.endpoints {
		b = wire.AppendBytes(b, 4, e)
	}
	b, start := wire.Begin(b, 5) // google.protobuf.Duration
	b = wire.AppendUint(b, 1, uint64(u.ttl/time.Second))
	if nanos := u.ttl % time.Second; nanos != 0 {
		b = wire.AppendUint(b, 2, uint64(nanos))
	}
	return wire.End(b, start)
}

func (c cluster) update(ctx context.Context, u update) error {
	_, err := c.Call(ctx, methods+"AffiliateUpdate", u.encode(), maxAnswerSize)
	return err
}

func (c cluster) remove(ctx context.Context, clusterID, affiliateID string) error {
	request := wire.AppendPresent(wire.AppendPresent(nil, 1, clusterID), 2, affiliateID)
	_, err := c.Call(ctx, methods+"AffiliateDelete", request, maxAnswerSize)
	return err
}

func (c cluster) list(ctx context.Context, clusterID string) ([]discovery.RawAffiliate, error) {
	b, err := c.Call(ctx, methods+"List", wire.AppendPresent(nil, 1, clusterID), maxSnapshotSize)
	if err != nil {
		return nil, err
	}
	e, err := decodeEvent(b, maxEntries)
	return e.affiliates, err
}

func (c cluster) watch(ctx context.Context, clusterID string) (*rpc.Stream, error) {
	return c.Open(ctx, methods+"Watch", wire.AppendPresent(nil, 1, clusterID))
}

// event is a WatchResponse. A ListResponse has the same form, without the flag.
type event struct {
	affiliates []discovery.RawAffiliate
	deleted    bool // of the affiliates, which have only an id
}

var errEntries = errors.New("the message has more affiliates or endpoints than a cluster may have")

// decodeEvent decodes at most the given number of affiliates: an empty one is 2 bytes on
// the wire, and many more in memory. It copies what it returns.
func decodeEvent(b []byte, affiliates int) (e event, err error) {
	endpoints := affiliates * discovery.MaxEndpoints
	f := wire.Read(b)
	for f.Next() {
		switch f.Number {
		case 1:
			if len(e.affiliates) == affiliates {
				return event{}, errEntries
			}
			a, err := decodeEntry(bytes.Clone(f.Bytes()), endpoints)
			if err != nil {
				return event{}, err
			}
			endpoints -= len(a.Endpoints)
			e.affiliates = append(e.affiliates, a)
		case 2:
			e.deleted = f.Uint() != 0
		}
	}
	return e, malformed("a change", f.Err())
}

// decodeEntry decodes an Affiliate of a server, with at most the given number of endpoints.
// The result holds parts of b.
func decodeEntry(b []byte, endpoints int) (a discovery.RawAffiliate, err error) {
	f := wire.Read(b)
	for f.Next() {
		switch f.Number {
		case 1:
			a.ID = string(f.Bytes())
		case 2:
			a.Data = f.Bytes()
		case 3:
			if len(a.Endpoints) == endpoints {
				return a, errEntries
			}
			a.Endpoints = append(a.Endpoints, f.Bytes())
		}
	}
	return a, malformed("an affiliate", f.Err())
}

func malformed(what string, err error) error {
	if err == nil {
		return nil
	}
	return &rpc.Error{Code: rpc.Internal, Message: fmt.Sprintf("%s: %v", what, err)}
}

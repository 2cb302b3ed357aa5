package server

import (
	"context"
	"errors"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	errLostUpdate = status.Error(codes.Aborted, "subscription canceled: lost update")
	errWatches    = status.Error(codes.ResourceExhausted, "too many watches from the client address")
	errAnswers    = status.Error(codes.ResourceExhausted, "too many answers that clients have not taken yet")
)

// service implements the RPCs: it validates, translates and calls the store. The gate has
// checked the cluster id.
type service struct {
	pb.UnimplementedClusterServer
	cfg      *Config
	store    Store
	only     *only
	pools    pools
	metrics  *metrics
	stopping <-chan struct{} // closed when the server stops; ends watches
}

func (s *service) Hello(ctx context.Context, req *pb.HelloRequest) (*pb.HelloResponse, error) {
	s.metrics.hello(req.GetClientVersion())
	resp := &pb.HelloResponse{ClientIp: s.cfg.clientAddr(ctx).AsSlice()}
	if s.cfg.Redirect != "" {
		resp.Redirect = &pb.RedirectMessage{Endpoint: s.cfg.Redirect}
	}
	return resp, nil
}

func (s *service) AffiliateUpdate(ctx context.Context, req *pb.AffiliateUpdateRequest) (*pb.AffiliateUpdateResponse, error) {
	if err := validateAffiliateID(req.GetAffiliateId()); err != nil {
		return nil, err
	}
	if err := validateUpdate(req); err != nil {
		return nil, err
	}
	u := Update{
		Cluster:   req.GetClusterId(),
		Affiliate: req.GetAffiliateId(),
		Data:      req.GetAffiliateData(),
		Endpoints: req.GetAffiliateEndpoints(),
		TTL:       req.GetTtl().AsDuration(),
		From:      s.cfg.clientAddr(ctx),
	}
	if err := s.store.Update(ctx, u, time.Now()); err != nil {
		return nil, storeError(err)
	}
	return &pb.AffiliateUpdateResponse{}, nil
}

func (s *service) AffiliateDelete(ctx context.Context, req *pb.AffiliateDeleteRequest) (*pb.AffiliateDeleteResponse, error) {
	if err := validateAffiliateID(req.GetAffiliateId()); err != nil {
		return nil, err
	}
	if err := s.store.Delete(ctx, req.GetClusterId(), req.GetAffiliateId()); err != nil {
		return nil, storeError(err)
	}
	return &pb.AffiliateDeleteResponse{}, nil
}

func (s *service) List(ctx context.Context, req *pb.ListRequest) (*pb.ListResponse, error) {
	list, err := s.store.List(ctx, req.GetClusterId())
	if err != nil {
		return nil, storeError(err)
	}
	return &pb.ListResponse{Affiliates: messages(list)}, nil
}

// Watch sends all affiliates in its first message, even if there are none, and
// then one changed affiliate per message.
func (s *service) Watch(req *pb.WatchRequest, stream pb.Cluster_WatchServer) error {
	addr := s.cfg.clientAddr(stream.Context())
	key := clientKey(addr)
	if !s.pools.watches.take(key, 1) {
		return errWatches
	}
	defer s.pools.watches.put(key, 1)
	sub, err := s.store.Watch(stream.Context(), req.GetClusterId(), addr)
	if err != nil {
		return storeError(err)
	}
	defer sub.Close()
	first, err := newAnswer(s.pools.answers, key, &pb.WatchResponse{Affiliates: messages(sub.Affiliates)})
	if err != nil {
		return err
	}
	if err := stream.SendMsg(first); err != nil {
		return err
	}
	sub.Affiliates = nil // frees the memory: a watch can last for months
	for {
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-s.stopping:
			return nil // the client sees EOF and connects again
		case ev, ok := <-sub.Events:
			if !ok && !s.only.serves(req.GetClusterId()) {
				return errForeignCluster
			}
			if !ok {
				return errLostUpdate
			}
			if err := stream.Send(ev.message()); err != nil {
				return err
			}
		}
	}
}

// storeError returns the status of a store's error.
func storeError(err error) error {
	if limit, ok := errors.AsType[LimitError](err); ok {
		return status.Error(codes.ResourceExhausted, limit.Error())
	}
	return status.Error(codes.Unavailable, "store: "+err.Error())
}

func (ev Event) message() *pb.WatchResponse {
	return &pb.WatchResponse{Affiliates: messages([]Affiliate{ev.Affiliate}), Deleted: ev.Deleted}
}

func messages(list []Affiliate) []*pb.Affiliate {
	out := make([]*pb.Affiliate, len(list))
	for i, a := range list {
		out[i] = &pb.Affiliate{Id: a.ID, Data: a.Data, Endpoints: a.Endpoints}
	}
	return out
}

package server

import (
	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// The error texts in this file are part of the protocol.

func validateClusterID(id string) error {
	return validateID("cluster ID", id, discovery.MaxClusterIDLength)
}

func validateAffiliateID(id string) error {
	return validateID("affiliate ID", id, discovery.MaxAffiliateIDLength)
}

func validateID(what, id string, limit int) error {
	switch {
	case id == "":
		return status.Error(codes.InvalidArgument, what+" can't be empty")
	case len(id) > limit:
		return status.Error(codes.InvalidArgument, what+" is too long")
	}
	return nil
}

// validateUpdate checks an update except its ids. A missing or negative TTL is
// valid and expires at once.
func validateUpdate(req *pb.AffiliateUpdateRequest) error {
	if len(req.GetAffiliateData()) > discovery.MaxAffiliateDataSize {
		return status.Error(codes.InvalidArgument, "affiliate data is too big")
	}
	for _, e := range req.GetAffiliateEndpoints() {
		if len(e) > discovery.MaxEndpointSize {
			return status.Error(codes.InvalidArgument, "affiliate endpoint is too big")
		}
	}
	if req.GetTtl().AsDuration() > discovery.MaxTTL {
		return status.Error(codes.InvalidArgument, "ttl is too large")
	}
	return nil
}

// shortAffiliateID returns the beginning of an affiliate id, cut like a cluster
// id and safe to print.
func shortAffiliateID(id string) string { return mesh.ShortClusterID(id) }

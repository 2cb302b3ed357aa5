package server

import (
	"context"
	"net/netip"
	"time"
)

// Affiliate holds what the server knows of one node. All of it is opaque.
type Affiliate struct {
	ID        string
	Data      []byte
	Endpoints [][]byte // in order of arrival
}

// Event is a change of one affiliate. It has the new state, or only the ID if
// Deleted is true.
type Event struct {
	Affiliate
	Deleted bool
}

// Update creates or changes an affiliate.
type Update struct {
	Cluster   string
	Affiliate string
	Data      []byte   // empty: keep the old data
	Endpoints [][]byte // added to the known ones
	TTL       time.Duration
	From      netip.Addr // of the client; zero if unknown
}

// Subscription is one watch of a cluster.
type Subscription struct {
	Affiliates []Affiliate  // the state at the start, sorted by ID
	Events     <-chan Event // every change since then; closed if one was lost
	Close      func()       // must be called once
}

// Store keeps affiliates until their TTL ends and notifies watchers of changes.
// Arguments have passed the per-request limits of package discovery. The store
// enforces the limits that depend on its contents and reports them as a
// [LimitError]. Its methods are called concurrently.
//
// The default store, in memory, defines the behaviour in detail:
//
//   - An update with data sets the affiliate's expiry to now + TTL, earlier or
//     later than before. It always notifies, even if the data is the same.
//   - Endpoints are added to the known ones. They prolong the affiliate's life and
//     never shorten it. A new endpoint notifies; a known one only lives longer.
//   - A new affiliate always notifies. If it has too many endpoints, the update
//     fails, but the affiliate stays with as many as the limit allows.
//   - Deleting an unknown affiliate is not an error and does not notify.
type Store interface {
	Update(ctx context.Context, u Update, now time.Time) error
	Delete(ctx context.Context, cluster, affiliate string) error
	List(ctx context.Context, cluster string) ([]Affiliate, error)                    // sorted by ID
	Watch(ctx context.Context, cluster string, from netip.Addr) (Subscription, error) // from as in Update
}

// LimitError says which limit of the store a request exceeds. Clients see it as
// ResourceExhausted.
type LimitError string

// Error returns the text that clients see.
func (e LimitError) Error() string { return string(e) }

// Limits of a store. The first two texts are part of the protocol.
const (
	ErrTooManyAffiliates      LimitError = "too many affiliates in the cluster"
	ErrTooManyEndpoints       LimitError = "too many endpoints in the affiliate"
	ErrTooManyClusters        LimitError = "too many clusters on the server"
	ErrTooManyTotalAffiliates LimitError = "too many affiliates on the server"
	ErrTooManyWatchers        LimitError = "too many watchers of the cluster"
	ErrTooManyFromAddress     LimitError = "too many affiliates from the client address"

	ErrTooManyClustersFromAddress LimitError = "too many clusters from the client address"
	ErrTooManyWatchesFromAddress  LimitError = "too many watches of the cluster from the client address"
)

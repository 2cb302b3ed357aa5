package server

import (
	"context"
	"time"
)

// Affiliate is what the server holds of one node. All of it is opaque.
type Affiliate struct {
	ID        string
	Data      []byte
	Endpoints [][]byte // last refreshed first; those of one update in its order
}

// Event is a change of one affiliate: its new state, or with Deleted only its ID.
type Event struct {
	Affiliate
	Deleted bool
}

// Update creates or changes an affiliate.
type Update struct {
	Cluster   string
	Affiliate string
	Data      []byte   // empty: keep what is there
	Endpoints [][]byte // added to those that are there
	TTL       time.Duration
}

// Subscription is one watch of a cluster.
type Subscription struct {
	Affiliates []Affiliate  // at the moment of subscribing, sorted by ID
	Events     <-chan Event // every change since; closed if one was lost
	Close      func()       // must be called once
}

// Store keeps affiliates until their TTL ends and tells watchers of changes.
// Arguments have passed the per-request limits of package discovery; the store
// enforces the limits that depend on its contents and reports them as a
// [LimitError]. Its methods are called concurrently.
//
// The memory store that New makes by default defines the behaviour in detail:
//
//   - New data always notifies, even if it is identical, and sets the expiry to
//     now + TTL, earlier or later than before.
//   - Endpoints are a union. A known one only lives longer, silently; a new one
//     notifies. This step only prolongs the affiliate's life.
//   - A new affiliate always notifies, and stays even if its endpoints are too
//     many; those up to the limit are kept.
//   - Deleting what is not there is no error and notifies nobody.
type Store interface {
	Update(ctx context.Context, u Update, now time.Time) error
	Delete(ctx context.Context, cluster, affiliate string) error
	List(ctx context.Context, cluster string) ([]Affiliate, error) // sorted by ID
	Watch(ctx context.Context, cluster string) (Subscription, error)
}

// LimitError says which bound of the store a request ran into. Clients see it
// as ResourceExhausted.
type LimitError string

// Error is the text that clients see.
func (e LimitError) Error() string { return string(e) }

// Bounds a store can run into. The first two texts are part of the protocol.
const (
	ErrTooManyAffiliates      LimitError = "too many affiliates in the cluster"
	ErrTooManyEndpoints       LimitError = "too many endpoints in the affiliate"
	ErrTooManyClusters        LimitError = "too many clusters on the server"
	ErrTooManyTotalAffiliates LimitError = "too many affiliates on the server"
	ErrTooManyWatchers        LimitError = "too many watchers of the cluster"
)

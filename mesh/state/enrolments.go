package state

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// EnrolmentsFile is the founder's record of its join tokens, and of the members.
const EnrolmentsFile = "enrolments.json"

// Limits of join tokens.
const (
	MaxTokenUses     = 1000
	MinTokenLifetime = time.Minute
	MaxTokenLifetime = 366 * 24 * time.Hour

	maxTokens   = 64                 // valid ones, without those that renew themselves
	maxRenewed  = 8                  // of those that renew themselves: the oldest ends first
	tokenMemory = 7 * 24 * time.Hour // after a token has expired, so that it is not called unknown
	maxSpent    = 64                 // expired or used up
	maxMembers  = 4096               // nodes; the oldest end first
	clockSlack  = 5 * time.Minute
	instant     = "2006-01-02 15:04:05 MST"
)

// Enrolments is the founder's record of its join tokens, and of the nodes that joined
// with them. Several goroutines may use it.
type Enrolments struct {
	st *Dir
	mu sync.Mutex
	enrolments
}

// enrolments is the record as it is stored.
type enrolments struct {
	Tokens   []issued          // oldest first
	Members  []string          // node ids, oldest first
	Expelled []mesh.NodeDigest // oldest first
}

// issued is a join token as the founder remembers it: of its key it has a hash.
type issued struct {
	ID      string // base64
	KeyHash []byte // SHA-256
	Uses    int
	Renewed bool `json:",omitempty"` // it replaces itself
	Created time.Time
	Expires time.Time
	Nodes   []string // that joined with it
}

// Refusal is why a node is not enrolled. The node is told.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// OpenEnrolments reads the record. One that is damaged counts as empty, and is reported:
// no token is then valid, and all goes on.
func OpenEnrolments(st *Dir) (*Enrolments, error) {
	e := &Enrolments{st: st}
	data, err := st.Read(EnrolmentsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &e.enrolments); err != nil {
		e.enrolments = enrolments{}
		st.log.Warn("the record of members and join tokens is damaged: no token that was made before is valid, and when the secret changes, members must join again", "file", st.Path(EnrolmentsFile), "error", err)
	}
	return e, nil
}

// TokenSpec says what a new join token is good for.
type TokenSpec struct {
	Uses     int
	Lifetime time.Duration
	Renewed  bool // it is one of those that replace themselves
}

// Check returns an error for what is out of range.
func (s TokenSpec) Check() error {
	if s.Uses < 1 || s.Uses > MaxTokenUses {
		return fmt.Errorf("a join token for %d nodes: 1 to %d are possible", s.Uses, MaxTokenUses)
	}
	if s.Lifetime < MinTokenLifetime || s.Lifetime > MaxTokenLifetime {
		return fmt.Errorf("a join token for %s: 1 minute to 366 days are possible", s.Lifetime)
	}
	return nil
}

// Issue stores a new join token and returns its key, which is stored nowhere.
func (e *Enrolments) Issue(s TokenSpec, now time.Time) (id mesh.EnrolmentID, key mesh.Secret, expires time.Time, err error) {
	if err := s.Check(); err != nil {
		return id, key, expires, err
	}
	_, _ = rand.Read(id[:]) // never fails: crypto/rand crashes the process instead
	secret := random32()
	key = mesh.NewSecret(secret)
	now = now.UTC().Truncate(time.Second)
	expires = now.Add(s.Lifetime).Truncate(time.Second)
	hash := sha256.Sum256(secret[:])

	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.enrolments
	next.Tokens = e.room(now, s.Renewed)
	if !s.Renewed && count(next.Tokens, func(t *issued) bool { return !t.Renewed && t.valid(now) }) >= maxTokens {
		return id, mesh.Secret{}, expires, fmt.Errorf("%d join tokens are valid: wait until one expires", maxTokens)
	}
	next.Tokens = append(next.Tokens, issued{
		ID: base64.StdEncoding.EncodeToString(id[:]), KeyHash: hash[:], Uses: s.Uses, Renewed: s.Renewed, Created: now, Expires: expires,
	})
	return id, key, expires, e.keep(next)
}

// room returns the tokens without those that need not be remembered any more.
func (e *Enrolments) room(now time.Time, renewed bool) []issued {
	next := slices.DeleteFunc(slices.Clone(e.Tokens), func(t issued) bool { return now.Sub(t.Expires) > tokenMemory })
	if renewed {
		next = newest(next, maxRenewed-1, func(t *issued) bool { return t.Renewed })
	}
	return newest(next, maxSpent, func(t *issued) bool { return !t.valid(now) })
}

// newest removes all but the newest n of the tokens that match.
func newest(tokens []issued, n int, match func(*issued) bool) []issued {
	surplus := count(tokens, match) - n
	return slices.DeleteFunc(tokens, func(t issued) bool {
		if surplus <= 0 || !match(&t) {
			return false
		}
		surplus--
		return true
	})
}

func count(tokens []issued, match func(*issued) bool) (n int) {
	for i := range tokens {
		if match(&tokens[i]) {
			n++
		}
	}
	return n
}

// valid reports whether another node can join with the token.
func (t *issued) valid(now time.Time) bool { return now.Before(t.Expires) && len(t.Nodes) < t.Uses }

// early reports whether the token was made later than now.
func (t *issued) early(now time.Time) bool { return now.Before(t.Created.Add(-clockSlack)) }

// keep stores the record, and only then uses it.
func (e *Enrolments) keep(next enrolments) error {
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", EnrolmentsFile, err)
	}
	if err := e.st.Replace(EnrolmentsFile, append(data, '\n')); err != nil {
		return err
	}
	e.enrolments = next
	return nil
}

// Left returns for how long another node can join with a token; 0 if none can. None can with
// one that was made by a clock that was ahead.
func (e *Enrolments) Left(id mesh.EnrolmentID, now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := e.find(id); i >= 0 && e.Tokens[i].valid(now) && !e.Tokens[i].early(now) {
		return e.Tokens[i].Expires.Sub(now)
	}
	return 0
}

func (e *Enrolments) find(id mesh.EnrolmentID) int {
	text := base64.StdEncoding.EncodeToString(id[:])
	return slices.IndexFunc(e.Tokens, func(t issued) bool { return t.ID == text })
}

// Enrol returns nil if a node may join; that it does is then stored. A node that asks
// again, because it did not get the answer, uses up nothing. An error that the node must
// know is a [Refusal]. Pin is that of this node's server.
func (e *Enrolments) Enrol(r mesh.Enrolment, pin [32]byte, now time.Time) error {
	key := r.Key.Reveal()
	hash := sha256.Sum256(key[:])

	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.find(r.ID)
	if i < 0 || subtle.ConstantTimeCompare(hash[:], e.Tokens[i].KeyHash) == 0 {
		return Refusal("the founder does not know this join token: the token is old, or the mesh was founded anew; get a new one from the founder (wirespan token)")
	}
	if err := r.Verify(pin); err != nil {
		return Refusal("the enrolment is not signed by the node for this server: " + err.Error())
	}
	if e.expelled(r.NodeID) {
		return ErrExpelled
	}
	t := e.Tokens[i]
	switch known := slices.Contains(t.Nodes, r.NodeID); {
	case t.early(now):
		return Refusal(fmt.Sprintf("the founder's clock is wrong, or was: it says %s, and the join token was made at %s; set the founder's clock, or get a new token from it (wirespan token)",
			now.UTC().Format(instant), t.Created.Format(instant)))
	case !now.Before(t.Expires):
		return Refusal(fmt.Sprintf("the join token expired at %s, by the founder's clock it is %s now; get a new one from the founder (wirespan token)",
			t.Expires.Format(instant), now.UTC().Format(instant)))
	case known:
		return nil
	case len(t.Nodes) >= t.Uses:
		return Refusal(fmt.Sprintf("the join token is used up: it was for %d, which have joined; get a new one from the founder (wirespan token)", t.Uses))
	}
	next := e.enrolments
	next.Tokens = slices.Clone(e.Tokens)
	next.Tokens[i].Nodes = append(slices.Clone(t.Nodes), r.NodeID)
	if !slices.Contains(e.Members, r.NodeID) {
		next.Members = append(slices.Clone(e.Members[max(0, len(e.Members)+1-maxMembers):]), r.NodeID)
	}
	return e.keep(next)
}

// ErrExpelled tells a node that it is no member any more.
var ErrExpelled = Refusal("this node was expelled from the mesh: to join as a new node, remove " + mesh.NodeKeyFile + " and " + mesh.NodeIdentityFile + " from its state directory")

// Renew returns nil if a node that asks for the present secret is a member. Pin is that of
// this node's server.
func (e *Enrolments) Renew(r mesh.Enrolment, pin [32]byte) error {
	e.mu.Lock()
	expelled, member := e.expelled(r.NodeID), slices.Contains(e.Members, r.NodeID)
	e.mu.Unlock()
	switch {
	case expelled:
		return ErrExpelled
	case !member:
		return Refusal("the founder does not know this node as a member: join again, with a new join token (wirespan token, on the founder)")
	}
	if err := r.Verify(pin); err != nil {
		return Refusal("the request is not signed by the node for this server: " + err.Error())
	}
	return nil
}

func (e *Enrolments) expelled(nodeID string) bool {
	d, err := mesh.DigestNodeID(nodeID)
	return err == nil && slices.Contains(e.Expelled, d)
}

// Expel ends the membership of nodes, and the tokens by which they have joined: they may
// still have them. It does nothing for nodes that are expelled already.
func (e *Enrolments) Expel(nodes []mesh.NodeDigest) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.enrolments
	for _, d := range nodes {
		if !slices.Contains(next.Expelled, d) {
			next.Expelled = append(slices.Clip(next.Expelled), d)
		}
	}
	if len(next.Expelled) == len(e.Expelled) {
		return nil
	}
	next.Expelled = next.Expelled[max(0, len(next.Expelled)-maxMembers):]
	among := func(id string) bool {
		d, err := mesh.DigestNodeID(id)
		return err == nil && slices.Contains(nodes, d)
	}
	next.Members = slices.DeleteFunc(slices.Clone(e.Members), among)
	next.Tokens = slices.DeleteFunc(slices.Clone(e.Tokens), func(t issued) bool { return slices.ContainsFunc(t.Nodes, among) })
	return e.keep(next)
}

// EndTokens ends all join tokens.
func (e *Enrolments) EndTokens() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.enrolments
	next.Tokens = nil
	return e.keep(next)
}

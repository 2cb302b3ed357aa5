//go:build !edge

package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// The join token that a founder offers without being asked admits some nodes and is
// replaced by another one in time.
const (
	offeredUses     = 8
	offeredLifetime = 24 * time.Hour
	renewBefore     = offeredLifetime / 2 // its end
)

// tokens makes the join tokens of a founder. The agent's loop, the discovery server and
// the control socket use it.
type tokens struct {
	enrolments *state.Enrolments
	authority  mesh.Authority

	mu      sync.Mutex
	servers []string
	passed  []string // links whose addresses are not among them
	pin     [32]byte
	offered config.Token // the zero Token: none
}

// errNoAddress says that a founder has no address for its tokens.
type errNoAddress struct{ passed []string }

func (e errNoAddress) Error() string {
	text := "no address of the discovery server is known that other hosts could reach"
	if len(e.passed) > 0 {
		text += " (no default route leaves by " + strings.Join(e.passed, ", ") + ", and the addresses there are not announced)"
	}
	return text + ": name one with --advertise-discovery, or let --address-filters admit an address of this host"
}

// openTokens reads the record of a founder's join tokens, and the token that it offered
// last.
func openTokens(st *state.Dir, c *state.Cluster) (*tokens, error) {
	enrolments, err := state.OpenEnrolments(st)
	if err != nil {
		return nil, err
	}
	t := &tokens{enrolments: enrolments, authority: c.Authority, servers: c.Servers, pin: c.Pin}
	if data, err := st.Read(joinTokenFile); err == nil {
		if offered, err := config.ParseToken(string(data)); err == nil && offered.Authority == c.Authority {
			t.offered = offered
		}
	}
	return t, nil
}

// advertise sets where the server is. Passed are the links whose addresses are left out.
func (t *tokens) advertise(servers []string, pin [32]byte, passed ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.servers, t.pin, t.passed = servers, pin, passed
}

// replaceAuthority sets the authority of later tokens.
func (t *tokens) replaceAuthority(a mesh.Authority) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.authority, t.offered = a, config.Token{}
}

// issue makes a join token.
func (t *tokens) issue(s state.TokenSpec) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	made, err := t.make(s)
	if err != nil {
		return "", err
	}
	return made.Encode()
}

func (t *tokens) make(s state.TokenSpec) (made config.Token, err error) {
	if len(t.servers) == 0 {
		return made, errNoAddress{t.passed}
	}
	made = config.Token{Servers: t.servers, Pin: t.pin, Authority: t.authority}
	made.ID, made.Key, made.Expires, err = t.enrolments.Issue(s, time.Now())
	return made, err
}

// offer returns the token to offer: the last one, with the present addresses, or another
// one when that is used up or about to expire.
func (t *tokens) offer() (text string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.servers) == 0 {
		return "", errNoAddress{t.passed}
	}
	if t.enrolments.Left(t.offered.ID, time.Now()) < renewBefore {
		made, err := t.make(state.TokenSpec{Uses: offeredUses, Lifetime: offeredLifetime, Renewed: true})
		if err != nil {
			return "", err
		}
		t.offered = made
	}
	t.offered.Servers, t.offered.Pin = t.servers, t.pin
	return t.offered.Encode()
}

// enrol answers a node that wants to join.
func (n *Node) enrol(_ context.Context, request []byte) ([]byte, error) {
	r, err := mesh.ParseEnrolment(request)
	if err != nil {
		return nil, discovery.Refusal(err.Error())
	}
	c := n.membership.present()
	joins := r.ID != mesh.EnrolmentID{}
	if joins {
		err = n.tokens.enrolments.Enrol(r, n.server.pin, time.Now())
	} else {
		err = n.tokens.enrolments.Renew(r, n.server.pin)
	}
	// A statement counts before the record of the members follows it.
	if s := statementOf(c); err == nil && s.Expels(r.NodeID) {
		err = state.ErrExpelled
	}
	if refusal, ok := errors.AsType[state.Refusal](err); ok {
		return nil, discovery.Refusal(refusal)
	}
	if err != nil {
		return nil, err
	}
	if joins {
		n.log.Info("a node has joined with a join token", "node", r.NodeID)
		n.offer()
	} else {
		n.log.Debug("a member has asked for the newest secret", "node", r.NodeID)
	}
	m := membershipOf(c, n.keys.NodeID)
	return m.Encode(), nil
}

// membershipOf returns the answer to a member.
func membershipOf(c *state.Cluster, founder string) mesh.Membership {
	m := mesh.Membership{ClusterID: c.ID, Authority: cmp.Or(c.First, c.Authority), Founder: founder, Statements: slices.Clone(c.Successions)}
	m.Secret, m.SecretNumber = c.Newest()
	if n := len(m.Statements); len(c.Statement) > 0 && (n == 0 || !bytes.Equal(m.Statements[n-1], c.Statement)) {
		m.Statements = append(m.Statements, c.Statement)
	}
	return m
}

// offer shows the join token and writes it to a file that only this user may read, if it
// has changed.
func (n *Node) offer() {
	n.offering.Lock()
	defer n.offering.Unlock()
	text, err := n.tokens.offer()
	if n.withheld = err; err != nil || text == n.offered {
		return
	}
	first := n.offered == ""
	n.offered = text
	memory := n.state.Root() == config.StateMemory
	if !memory {
		if err := n.writeToken(text); err != nil {
			n.log.Warn("writing the join token", "error", err)
			return
		}
	}
	switch shown := n.cfg.ShowToken != nil && n.cfg.ShowToken(text); {
	case shown || !first:
	case memory:
		n.log.Info("to add another box to this mesh, run wirespan token here")
	default:
		n.log.Info("to add another box to this mesh, run wirespan up --join @FILE there, with this file", "file", n.state.Path(joinTokenFile))
	}
}

// tokenCondition returns a condition if there is no join token to offer.
func (n *Node) tokenCondition() []mesh.Condition {
	n.offering.Lock()
	defer n.offering.Unlock()
	if n.withheld == nil {
		return nil
	}
	return []mesh.Condition{{Type: mesh.ConditionNoJoinToken, Subject: "join token", Message: "other boxes cannot join yet: " + n.withheld.Error()}}
}

// passedOver names the links that are up and have an address, of which none is announced.
func passedOver(links []mesh.Link, filters []mesh.AddressFilter) (names []string) {
	const most = 8
	for _, l := range links {
		if l.Loopback || !l.Up || len(l.Addresses) == 0 || len(mesh.HostAddresses([]mesh.Link{l}, filters)) > 0 || len(names) == most {
			continue
		}
		name := mesh.QuoteName(l.Name)
		if l.Kind != "" {
			name += " (" + l.Kind + ")"
		}
		names = append(names, name)
	}
	return names
}

// writeToken writes the offered token, unless it is there: it is the same after a restart.
func (n *Node) writeToken(text string) error {
	if old, err := n.state.Read(joinTokenFile); err == nil && strings.TrimSpace(string(old)) == text {
		return nil
	}
	return n.state.Replace(joinTokenFile, []byte(text+"\n"))
}

// CheckToken returns an error if no join token can be for so many nodes, or for so long.
func CheckToken(uses int, lifetime time.Duration) error {
	return state.TokenSpec{Uses: uses, Lifetime: lifetime}.Check()
}

// Token makes a join token for the cluster that this node has founded. No agent may be
// running.
func Token(c Config, uses int, lifetime time.Duration) (string, error) {
	if known, err := Known(c.Config); err != nil {
		return "", err
	} else if !known {
		return "", errNoCluster
	}
	n, err := locate(c)
	if err != nil {
		return "", err
	}
	if err := n.state.Lock(); err != nil {
		return "", fmt.Errorf("no agent answers on the control socket, so this command makes the token itself: %w", err)
	}
	defer n.state.Close()
	if !n.config.Standalone() {
		return "", errNoCluster
	}
	present, err := state.LoadCluster(n.state)
	if err != nil {
		return "", err
	}
	if n.membership.enterCluster(present); n.founder() {
		if n.tokens, err = openTokens(n.state, present); err != nil {
			return "", err
		}
	}
	token, err := n.NewToken(uses, lifetime)
	if _, ok := errors.AsType[errNoAddress](err); ok {
		err = fmt.Errorf("%w; or start the agent, which looks for one", err)
	}
	return token, err
}

var (
	errNoCluster  = errors.New("this node has neither founded nor joined a cluster by wirespan up (a cluster that is configured in files is joined by the same files)")
	errNotFounder = errors.New("only the founder of a mesh makes join tokens, and this node has joined by one: run wirespan token on the founder")
)

// NewToken makes a join token on the founder of a mesh. So many nodes can join with it, for
// so long.
func (n *Node) NewToken(uses int, lifetime time.Duration) (string, error) {
	switch {
	case n.membership.present() == nil:
		return "", errNoCluster
	case n.tokens == nil:
		return "", errNotFounder
	}
	return n.tokens.issue(state.TokenSpec{Uses: uses, Lifetime: lifetime})
}

package nat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/device/stun"
)

// requestGap is the least time between two requests.
const requestGap = 20 * time.Millisecond

// patience is how long to wait for an answer before the request is sent again, each time.
type patience []time.Duration

var (
	// patient is that of RFC 8489: an RTO of 500 ms, Rc 7 and Rm 16.
	patient = patience{
		500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 8 * time.Second,
	}
	// hasty is for a person who waits.
	hasty = patience{300 * time.Millisecond, 600 * time.Millisecond, 900 * time.Millisecond}
)

var (
	errNoAnswer = errors.New("no answer")
	errRefused  = errors.New("the server does not support the request")
)

// question is a request.
type question struct {
	to     netip.AddrPort
	from   netip.AddrPort // where the answer comes from; zero: it is to
	change stun.Change
	echo   bool // the request itself is to come back
}

// answer is the answer to a question.
type answer struct {
	stun.Message
	rtt time.Duration
}

// waiting is a question that is under way.
type waiting struct {
	question
	answered chan stun.Message // with room for one
}

// ask sends a request until it is answered.
func (p *Prober) ask(ctx context.Context, q question, retry patience) (answer, error) {
	w := &waiting{question: q, answered: make(chan stun.Message, 1)}
	if !w.from.IsValid() {
		w.from = q.to
	}
	var id stun.ID
	_, _ = rand.Read(id[:]) // never fails
	p.expect(id, w)
	defer p.forget(id)
	request := stun.AppendRequest(nil, id, q.change)
	for _, wait := range retry {
		if err := p.pace(ctx); err != nil {
			return answer{}, err
		}
		sent := time.Now()
		if err := p.cfg.Send(request, q.to); err != nil {
			return answer{}, err
		}
		timer := time.NewTimer(wait)
		select {
		case m := <-w.answered:
			timer.Stop()
			return answer{m, time.Since(sent)}, refusal(m, q.to.Addr())
		case <-ctx.Done():
			timer.Stop()
			return answer{}, ctx.Err()
		case <-timer.C:
		}
	}
	return answer{}, errNoAnswer
}

// refusal returns why the message of a server is no answer. A host can't be seen at an
// address that no other one reaches: nothing is announced or sent there.
func refusal(m stun.Message, server netip.Addr) error {
	a := m.Mapped.Addr()
	switch {
	case m.Type == stun.Failure:
		return fmt.Errorf("%w (code %d)", errRefused, m.Code)
	case m.Type == stun.Response && !a.IsGlobalUnicast() && !(a.IsLoopback() && server.IsLoopback()) &&
		!(a.IsLinkLocalUnicast() && server.IsLinkLocalUnicast()):
		return fmt.Errorf("the server says that it sees this host at %v, which can't be", a)
	}
	return nil
}

// pace waits until the next request may be sent.
func (p *Prober) pace(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	slot := now
	if p.paced.After(now) {
		slot = p.paced
	}
	p.paced = slot.Add(requestGap)
	p.mu.Unlock()
	return sleep(ctx, slot.Sub(now))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (p *Prober) expect(id stun.ID, w *waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[id] = w
	p.pending.Store(int32(len(p.waiting)))
}

func (p *Prober) forget(id stun.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, id)
	p.pending.Store(int32(len(p.waiting)))
}

// Received takes a STUN message that came in, and reports whether it belongs to a request
// that is under way.
func (p *Prober) Received(b []byte, from netip.AddrPort) bool {
	if p.pending.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.waiting[stun.IDOf(b)]
	if w == nil {
		return false
	}
	m, err := stun.Parse(b)
	if err != nil || w.echo != (m.Type == stun.Request) || !w.echo && from != w.from && !(m.Type == stun.Failure && from == w.to) {
		return true
	}
	select {
	case w.answered <- m:
	default: // a repetition
	}
	return true
}

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
)

// scenarioKeyRotation checks that a node changes its key several times while it and its
// peers ping each other every 5 ms, and that not one ping is lost.
func scenarioKeyRotation(l *lab) {
	a, b, c := l.host("a").node(""), l.host("b").node(""), l.host("c").node("")
	token := a.found()
	b.join(token)
	c.join(token)
	l.allUp(a, b, c)
	const count = 6000 // in half a minute
	var pings sync.WaitGroup
	for _, pair := range [][2]*labNode{{b, a}, {b, c}, {a, b}, {c, b}, {a, c}} {
		from, to := pair[0], pair[1].mustStatus().Node.Address
		pings.Go(func() { from.losesNothing(to, count) })
	}
	before := b.key()
	b.configure(settings("keyRotation: 10s"))
	b.mustCLI("reload")
	for range 2 {
		eventually(l.T, within, func() error { return b.changedKey(before, a, c) })
		before = b.key()
	}
	pings.Wait()
	for _, n := range []*labNode{a, c} {
		n.calm()
	}
	if n := b.proc.count("may lose packets"); n != 0 {
		l.Errorf("%d peers were not prepared", n)
	}
	b.restart() // with the last key, or the next if it was about to change
	l.allUp(a, b, c)
	eventually(l.T, within, func() error { return b.changedKey("", a, c) })
}

// losesNothing pings an address every 5 ms. One lost ping in a thousand may be that of a
// host whose cores are all busy; a path that is in the way for a moment loses more.
func (h *labHost) losesNothing(to netip.Addr, count int) {
	h.Helper()
	out, err := h.exec("ping", "-q", "-c", fmt.Sprint(count), "-i", "0.005", "-W", "5", to.String())
	sent, received := 0, 0
	if _, counts, found := strings.Cut(out, "statistics ---\n"); found {
		_, _ = fmt.Sscanf(counts, "%d packets transmitted, %d received", &sent, &received)
	}
	if err != nil || sent != count || count-received > count/1000 {
		h.Errorf("pings from %s to %s: %v\n%s", h.name, to, err, out)
	}
}

// changedKey returns an error unless the node has another key than before, which others know.
func (n *labNode) changedKey(before string, others ...*labNode) error {
	key := n.key()
	if key == before {
		return fmt.Errorf("%s still has the key %s", n.name, key)
	}
	for _, o := range others {
		p, err := o.peer(n.name)
		if err != nil {
			return err
		}
		if p.PublicKey.String() != key || p.State.String() != "up" {
			return fmt.Errorf("%s has %s with the key %s, %v", o.name, n.name, p.PublicKey, p.State)
		}
	}
	return nil
}

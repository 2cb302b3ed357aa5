package service

import (
	"testing"
	"testing/synctest"
	"time"
)

// After a change of this host's addresses, the connection is replaced at once, and one that
// fails is tried again without the wait.
func TestMoved(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		f := n.start("a:1", sealed(t, secret, "p1", "one"))
		c := run(t, n, config("a:1"))
		c.Publish(local("self"))
		wantIDs(t, c, "p1")
		f.takeUpdates()
		first, start := c.Snapshot().Since, time.Now()
		c.Moved()
		synctest.Wait()
		hellos, _ := f.counts()
		if s := c.Snapshot(); hellos != 2 || !s.Connected || s.LastError != nil || !time.Now().Equal(start) {
			t.Errorf("%d connections since %v, the last %+v", hellos, first, s)
		}
		if len(f.takeUpdates()) == 0 {
			t.Error("this node was not published again")
		}
		wantIDs(t, c, "p1")

		n.stop("a:1")
		time.Sleep(2 * maxBackoff)
		n.start("a:1", sealed(t, secret, "p2", "two"))
		before := len(n.dialed())
		c.Moved()
		synctest.Wait()
		if !c.Snapshot().Connected || len(n.dialed()) != before+1 {
			t.Errorf("connected %v after %d attempts", c.Snapshot().Connected, len(n.dialed())-before)
		}
	})
}

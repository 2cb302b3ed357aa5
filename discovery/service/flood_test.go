package service

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"

	"github.com/wirespan/wirespan/discovery"
)

// A service that sends changes as fast as they are read is read at a limited rate, and
// does not wake the reader of the snapshot for each.
func TestFloodOfChanges(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		f := n.start("a:1", sealed(t, secret, "honest", "one"))
		c := run(t, n, config("a:1"))
		wantIDs(t, c, "honest")
		ended, counted := make(chan struct{}), make(chan int)
		go func() {
			shown := 0
			for {
				select {
				case <-c.Changed():
					shown++
				case <-ended:
					counted <- shown
					return
				}
			}
		}()
		const minute = 60
		// What has been sent and not yet read is in buffers: of the fake, of its gRPC, of
		// the connection, and ahead of the client's reader. Without a limit time would
		// stand still.
		limit := messageBurst + minute*messageRate + 2048 + 1<<20/1000
		sent := 0
		for end := time.Now().Add(minute * time.Second); sent <= limit && time.Now().Before(end); sent++ {
			data := binary.BigEndian.AppendUint64(make([]byte, 1000), uint64(sent))
			f.put(&pb.Affiliate{Id: fmt.Sprint("flood", sent%900), Data: data})
		}
		if sent > limit || sent < minute*messageRate {
			t.Errorf("%d changes were taken in a minute, the limit is %d", sent, limit)
		}
		close(ended)
		if shown, most := <-counted, 2*(publishBurst+minute*publishRate+2); shown > most || shown < minute {
			t.Errorf("%d changes were shown, the limit is %d", shown, most)
		}
		f.put(sealed(t, secret, "honest", "two"))
		time.Sleep(time.Minute)
		s := c.Snapshot()
		if len(s.Affiliates) != 1 || s.Affiliates[0].Hostname != "two" || !s.Connected || len(s.Problems) < 900 {
			t.Errorf("in the end %d affiliates, %d problems of at most %d, error %v", len(s.Affiliates), len(s.Problems), discovery.MaxAffiliates, s.LastError)
		}
	})
}

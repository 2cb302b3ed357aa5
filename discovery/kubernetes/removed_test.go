package kubernetes

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wirespan/wirespan/discovery/codec"
)

// claiming returns a Node with a node id.
func claiming(name, id string) *node {
	return &node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{nodeIDKey: id}}}
}

func TestRemoved(t *testing.T) {
	now := time.Unix(1, 0)
	tr := newTracker(codec.Cluster{ID: "c"}, "self")
	want := func(ids ...string) {
		t.Helper()
		if got := tr.removedIDs(); !slices.Equal(got, ids) {
			t.Errorf("removed: %v, want %v", got, ids)
		}
	}
	tr.replace([]*node{claiming("a", "1"), claiming("b", "2"), claiming("c", "3"), claiming("d", "3"), claiming("e", "5")}, now)
	want()
	tr.remove("a", now)
	tr.remove("c", now) // d has its id, too
	want("1")
	tr.set(claiming("b", "4"), now)
	want("1", "2")
	tr.set(&node{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, now)
	want("1", "2", "4")
	tr.set(claiming("f", "1"), now)
	want("2", "4")
	tr.replace([]*node{claiming("d", "3"), claiming("e", "5")}, now)
	want("1", "2", "4")
	tr.replace(nil, now) // more than half: perhaps lost
	want("1", "2", "4")

	for i := range 2 * maxNodes {
		tr.noteRemoved(fmt.Sprint(i))
	}
	if n := len(tr.removedIDs()); n > maxNodes {
		t.Errorf("%d ids are remembered", n)
	}
}

package mesh

import "testing"

func TestSignalCoalesces(t *testing.T) {
	s := NewSignal()
	if len(s) != 0 {
		t.Fatal("a new signal holds a notification")
	}
	s.Notify()
	s.Notify() // does not block
	<-s
	if len(s) != 0 {
		t.Error("two notifications before a look are more than one")
	}
	s.Notify()
	if len(s) != 1 {
		t.Error("a signal that was received can't be notified again")
	}
}

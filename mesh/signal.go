package mesh

// Signal tells a receiver that something changed. It holds at most one
// notification, so that any number of changes wake the receiver once; it then reads
// a whole snapshot, not single events.
type Signal chan struct{}

// NewSignal returns a signal without a notification.
func NewSignal() Signal { return make(Signal, 1) }

// Notify leaves a notification unless one is already waiting. It never blocks.
func (s Signal) Notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}

package mesh

// Signal says that something changed. It holds at most one notification, so
// that any number of changes before the receiver looks cost it one look: the
// receiver then reads a whole snapshot, never a single event.
type Signal chan struct{}

// NewSignal returns a signal without a notification.
func NewSignal() Signal { return make(Signal, 1) }

// Notify leaves a notification unless one is waiting already. It never blocks.
func (s Signal) Notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}

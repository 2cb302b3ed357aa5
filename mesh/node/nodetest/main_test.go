package nodetest

import (
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

// One processor at a time, because in a synctest bubble two of them can run timers at
// once: one the bubble's, the other a timer that is due when it is set or selected on.
// The race detector has one context for both and then dies of SIGSEGV (Go 1.26). It
// needs no parallelism to find races.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	goleak.VerifyTestMain(m)
}

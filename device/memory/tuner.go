package memory

import (
	"os"
	"runtime/debug"
	"slices"

	"github.com/hashicorp/go-hclog"
)

const (
	// gcPercent is how much the heap may grow over what is live before garbage is
	// collected, as long as memory is not short.
	gcPercent = 400
	// Below this budget the machine is small: garbage is collected as by Go's default, or it
	// would take the pages of programs, the agent's own text among them.
	smallBudget    = 32 << 20
	smallGCPercent = 100
	// The default budget is a share of the memory there is, within bounds. More
	// would not make the data plane faster, since it hardly ever collects as it is,
	// but would let the garbage of everything else pile up.
	budgetShare = 8
	minBudget   = 8 << 20
	maxBudget   = 48 << 20
)

// Tuner holds the settings of this process until Close. Use Tune.
type Tuner struct {
	restore []func() // each undoes one thing that Tune did, in that order
}

// Tune sets the garbage collector's target percentage and keeps the soft memory
// limit at budget bytes, or above that where the live heap needs more. A budget of
// 0 or less stands for the default, which depends on the memory of the machine or
// of the process' control group. A nil logger discards. Programs call it once,
// before they open a device, and close the Tuner when they are done.
func Tune(budget int64, log hclog.Logger) *Tuner {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	if budget <= 0 {
		budget = defaultBudget(physicalMemory(os.DirFS("/")))
	}
	t := &Tuner{}
	gogc, limit := os.Getenv("GOGC"), os.Getenv("GOMEMLIMIT")
	if gogc == "" {
		before := debug.SetGCPercent(percent(budget))
		t.restore = append(t.restore, func() { debug.SetGCPercent(before) })
	} else {
		log.Info("the environment decides on garbage collection", "GOGC", gogc)
	}
	if limit != "" {
		log.Info("the environment decides on memory, not the memory budget", "GOMEMLIMIT", limit)
		return t
	}
	log.Debug("memory budget", "bytes", budget)
	t.restore = append(t.restore, startGovernor(budget).stop)
	if gogc == "" {
		t.restore = append(t.restore, startIdleCollector().stop)
	}
	return t
}

// Close ends everything that Tune started, and restores the settings that were
// there before. It may be called again.
func (t *Tuner) Close() {
	for _, undo := range slices.Backward(t.restore) {
		undo()
	}
	t.restore = nil
}

// percent returns the garbage collector's target percentage for a budget.
func percent(budget int64) int {
	if budget < smallBudget {
		return smallGCPercent
	}
	return gcPercent
}

// defaultBudget returns the budget for a process that may use that much memory.
func defaultBudget(memory int64) int64 {
	return min(max(memory/budgetShare, minBudget), maxBudget)
}

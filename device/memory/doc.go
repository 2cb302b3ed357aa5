// Package memory fits the Go runtime's memory management to a process whose main
// work is a data plane.
//
// Such a process leaves next to no garbage, and each collection costs it the
// packet buffers that were idle for two of them, which then are allocated and
// zeroed again. So the garbage collector is lazy while memory is not short
// ([Tune] sets its target percentage), a soft memory limit makes it eager when the
// process reaches its budget, and remaining garbage is collected when the process is
// idle. Then it also gives back the pages of the program that it has used.
//
// The limit follows the live heap: there is always room for garbage, however
// small the budget. So the budget is a target and not a bound. GOGC and GOMEMLIMIT in
// the environment take precedence over both settings.
//
// Limits: the settings are the process's. At most one Tuner should be open at a
// time: the second one restores the settings of the first when it is closed.
// The default budget is known on Linux only; elsewhere it is the largest.
//
// Ownership: a [Tuner] has one goroutine, and an object whose cleanup the runtime
// calls after each collection. Close ends both and restores the settings.
package memory

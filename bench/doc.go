// Package bench holds the results of a tunnel benchmark, evaluates them and
// shows them.
//
// A [Report] holds every run of every subject, unreduced; [MetricByID] describes
// its values. The package reduces the runs to figures: median, extremes, and the
// ratio to a base subject with a 95 % interval. It warns about a noisy machine.
// [Report.WriteTable] writes all of that as text and [WriteHTML] as a page.
// [Compare] finds what changed between two reports. The JSON form ([Encode],
// [Decode]) is documented in docs/benchmarks.md.
//
// This package measures nothing: package bench/rig does. Only [ReadMachine] and
// [ReadCPU] do I/O. No function reads a clock or starts a goroutine.
//
// Limits: Decode accepts reports of up to 16 MiB, 64 subjects and 100,000 runs.
// The strings of a report are untrusted, and are escaped or quoted wherever they
// are shown.
//
// Invariants: values are in base units (bit/s, s, packet/s, B, s/GB); the table
// and the page scale them. A value that was not measured is absent, never zero.
// Equal reports give equal output.
//
// Ownership: functions only read a Report. The caller owns what they return.
package bench

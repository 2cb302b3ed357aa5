// Package bench is what a tunnel benchmark found, and what may be said of it.
//
// A [Report] holds every run of every subject, unreduced; [Metrics] says what
// the values are. From it come the figures ([Report.Figures]: median, extremes,
// ratio to a base subject with a 95 % interval), the warnings of a noisy machine
// ([Report.warnings]), the text table ([Report.WriteTable]), the page
// ([WriteHTML]) and the difference between two reports ([Compare]). The JSON
// form ([Encode], [Decode]) is documented in docs/benchmarks.md.
//
// Nothing is measured here: package bench/rig does that. Only [ReadMachine] and
// [ReadCPU] do I/O; nothing reads a clock or starts a goroutine.
//
// Limits: a report read back is at most 16 MiB, 64 subjects and 100,000 runs;
// its strings are untrusted, and are escaped or quoted wherever they are shown.
//
// Invariants: values are in base units (bit/s, s, packet/s, B, s/GB); the table
// and the page scale them. A value that was not measured is absent, never zero.
// Equal reports give equal output.
//
// Ownership: a Report is only read; what the functions return is the caller's.
package bench

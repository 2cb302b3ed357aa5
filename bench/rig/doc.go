// Package rig runs benchmarks of tunnels: it makes a network for two ends,
// brings each subject up between them in turn, drives traffic through it with
// package load, and fills a bench.Report.
//
// A local run is a tree of processes, all of this program:
//
//	Local                   the caller; owns the report
//	└ engine                with root: first process of namespaces of its own
//	  ├ agent a ─ subject   a network namespace each, joined by a veth pair;
//	  └ agent b ─ subject   new for every run
//
// The engine's process namespace ends with it, and it ends with its caller:
// whatever happens, even SIGKILL, no process, interface, socket or file stays.
// Files are made in a tmpfs that only the engine's mount namespace has. Without
// root the agents are plain processes, on loopback.
//
// What CPU and memory figures count: the processes of the subject alone where
// it has its own, so not the load generator; for subjects inside a program
// (netstack) and for raw, the agent, load generator included. Work that the
// kernel does in softirqs is charged to whom it interrupts. CPU seconds per GB
// are taken over the first test of streams to the server.
//
// Limits: Linux. Subjects run one at a time. Delay and loss need the kernel's
// netem. Everything has a deadline.
//
// Ownership: [Child] is the body of the processes above; it serves only the
// socket that its parent left it.
package rig

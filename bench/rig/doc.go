// Package rig runs benchmarks of tunnels. It creates a network with two ends,
// brings each subject up between them in turn, sends traffic through it with
// package load, and fills a bench.Report.
//
// A local benchmark is a tree of processes, all of this program:
//
//	Local                   the caller; owns the report
//	└ engine                with root: the first process of new namespaces
//	  ├ agent a ─ subject   a network namespace each, joined by a veth pair;
//	  └ agent b ─ subject   both new for every run
//
// When the caller ends, even by SIGKILL, the engine ends, and with it everything
// in its namespaces: no process, interface, socket or file remains. Files are
// created in a tmpfs that only the engine's mount namespace has. Without root
// the agents are plain processes and use loopback.
//
// CPU and memory figures count the processes of the subject, without the load
// generator. The netstacks and raw have no process of their own; their figures
// count the agent, which includes the load generator. The kernel charges its
// work in softirqs to the process that they interrupt. CPU seconds per GB are
// taken over the first test of streams to the server.
//
// Limits: Linux only. Subjects run one at a time. Delay and loss need the
// kernel's netem. Every step has a deadline.
//
// Ownership: a report belongs to the caller. [Child] is the body of the child
// processes; it serves only the socket that its parent passed to it.
package rig

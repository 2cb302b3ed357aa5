package main

import (
	"runtime"
	"testing"
)

// Commands that an agent runs for clients leave nothing behind.
func TestForClientsKeepsNothing(t *testing.T) {
	command := forClients(true)
	run := func() {
		for _, args := range [][]string{{"status", "-o", "json"}, {"get", "members"}} {
			if _, err := command(t.Context(), "/nowhere/s", args, 80, false); err == nil {
				t.Fatal("there is no agent")
			}
		}
	}
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	run()
	before := inUse()
	const times = 1000
	for range times {
		run()
	}
	if grown := inUse() - before; grown > times*100 {
		t.Errorf("%d bytes are kept of each", grown/times)
	}
}

// A client that names no agent must not be answered by one that it would not have found, and
// what is no question is not run.
func TestForClientsRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		usual, unnamed bool
		args           []string
	}{
		"another agent": {false, true, []string{"status"}},
		"a command":     {true, true, []string{"down"}},
		"a watch":       {true, false, []string{"status", "--watch"}},
		"nothing":       {true, false, nil},
	} {
		_, err := forClients(c.usual)(t.Context(), "/nowhere/s", c.args, 0, c.unnamed)
		if err == nil || err.Error() != "this agent does not run that for a client" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

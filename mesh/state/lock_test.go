package state

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func lockedDir(t *testing.T, dir string, lock func(*Dir) error) *Dir {
	t.Helper()
	st, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock(st); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// A short task does not run beside an agent, but beside another one.
func TestLockBriefly(t *testing.T) {
	dir := t.TempDir()
	agent := lockedDir(t, dir, (*Dir).Lock)
	task, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.LockBriefly(); !errors.Is(err, ErrInUse) {
		t.Errorf("beside an agent: %v", err)
	}
	if err := task.Lock(); !errors.Is(err, ErrInUse) {
		t.Errorf("a second agent: %v", err)
	}
	if err := agent.Close(); err != nil {
		t.Fatal(err)
	}
	lockedDir(t, dir, (*Dir).LockBriefly)
	lockedDir(t, dir, (*Dir).LockBriefly)
}

// An agent that starts while short tasks run has the lock when they have ended.
func TestLockWaitsForShortTasks(t *testing.T) {
	dir := t.TempDir()
	tasks := []*Dir{lockedDir(t, dir, (*Dir).LockBriefly), lockedDir(t, dir, (*Dir).LockBriefly)}
	agent, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	locked := make(chan error, 1)
	go func() { locked <- agent.Lock() }()
	for _, task := range tasks {
		select {
		case err := <-locked:
			t.Fatalf("locked beside a task: %v", err)
		default:
		}
		if err := task.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-locked; err != nil {
		t.Errorf("after the tasks: %v", err)
	}
	if err := agent.Close(); err != nil {
		t.Error(err)
	}
}

// An agent removes what writes that a power failure cut short have left, and nothing else.
func TestLockSweeps(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"pins.json.ABCDEFGH.tmp", ".discovery.snapshot.12.tmp", "pins.json", "clock"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := func() (out []string) {
		for _, e := range must(os.ReadDir(dir)) {
			out = append(out, e.Name())
		}
		return out
	}
	if st := lockedDir(t, dir, (*Dir).LockBriefly); len(names()) != 5 || st.Close() != nil {
		t.Errorf("a short task leaves %v", names())
	}
	lockedDir(t, dir, (*Dir).Lock)
	if got := names(); !slices.Equal(got, []string{"clock", "lock", "pins.json"}) {
		t.Errorf("an agent leaves %v", got)
	}
}

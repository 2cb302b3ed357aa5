package state

import (
	"errors"
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

package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// TestMain lets the test binary serve as the program, too: a benchmark starts it
// as "child ROLE", and TestKilled as "caller".
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "child" || os.Args[1] == "caller") {
		var err error
		if os.Args[1] == "caller" {
			err = caller()
		} else {
			err = Child(context.Background(), os.Args[2])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// With the race detector a process would wait for a second before it exits.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=1")
	os.Exit(m.Run())
}

// self returns the command that runs Child.
func self(t *testing.T) []string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{path, "child"}
}

// caller runs the benchmark that standard input describes.
func caller() error {
	var c Config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		return err
	}
	_, err := Local(context.Background(), c, func(p Progress) { fmt.Println(p.Subject, p.What) })
	return err
}

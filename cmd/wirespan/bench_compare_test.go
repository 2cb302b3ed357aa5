//go:build !edge

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/bench"
)

func TestBenchCompare(t *testing.T) {
	dir := t.TempDir()
	save := func(name string, goodput ...float64) string {
		r := &bench.Report{Schema: bench.Schema, Kind: bench.KindLocal, Subjects: []bench.Subject{{Name: "raw"}}}
		for i, v := range goodput {
			r.Runs = append(r.Runs, bench.Run{Index: i, Subject: "raw", Values: map[string]float64{"tcp.up.1": v}})
		}
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := bench.Encode(file, r); err != nil {
			t.Fatal(err)
		}
		return file.Name()
	}
	before, slower, empty := save("before.json", 2e9, 2.01e9, 1.99e9), save("slower.json", 1e9, 1.01e9, 1.02e9), save("empty.json")
	var silent silentError
	var usage usageError
	for _, c := range []struct {
		args     []string
		out, err string
		as       any
	}{
		{[]string{before, before, "--fail-below", "0.95"}, "1.00×", "", nil},
		{[]string{before, slower}, "worse", "", nil},
		{[]string{before, slower, "--fail-below", "0.95"}, "Failed\n  raw: tcp.up.1: improvement 0.50×", "figures that failed: 1", &silent},
		{[]string{slower, before, "--fail-below", "0.95"}, "better", "", nil},
		{[]string{before, empty, "--fail-below", "0.95"}, "no longer measured", "figures that failed: 1", &silent},
		{[]string{empty, before}, "no figure in common", "nothing to compare", nil},
		{[]string{before, filepath.Join(dir, "none.json")}, "", "none.json", nil},
		{[]string{before, slower, "--fail-below", "95"}, "", "--fail-below 95", &usage},
		{[]string{before}, "", "AFTER.json is missing", &usage},
	} {
		var out bytes.Buffer
		cmd := (&cli{stdio: stdio{out: &out}}).benchCompare()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(c.args)
		err := cmd.Execute()
		switch {
		case c.err == "" && err != nil, c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%v: error %v, want %q", c.args, err, c.err)
		case c.as != nil && !errors.As(err, c.as):
			t.Errorf("%v: error of type %T", c.args, err)
		case !strings.Contains(out.String(), c.out):
			t.Errorf("%v: no %q in:\n%s", c.args, c.out, out.String())
		}
	}
}

func TestWriteReport(t *testing.T) {
	r := &bench.Report{Schema: bench.Schema, Kind: bench.KindLocal}
	page := filepath.Join(t.TempDir(), "report.html")
	for format, want := range map[string]string{outputTable: "Nothing was measured.", outputJSON: `"schema": "wirespan.bench/1"`, outputYAML: "schema: wirespan.bench/1"} {
		var out bytes.Buffer
		if err := (&cli{stdio: stdio{out: &out}}).writeReport(r, format, page); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v, no %q in:\n%s", format, err, want, out.String())
		}
	}
	if html, err := os.ReadFile(page); err != nil || !bytes.HasPrefix(html, []byte("<!DOCTYPE html>")) {
		t.Errorf("%.40q, %v", html, err)
	}
	if err := (&cli{}).writeReport(r, outputJSON, filepath.Join(page, "x")); err == nil || !strings.Contains(err.Error(), page) {
		t.Error(err)
	}
}

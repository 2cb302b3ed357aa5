package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/mesh/config"
)

const variablePrefix = "WIRESPAN_"

// otherVariables are those that are no settings. The last ones belong to wirespan device and
// to a build that measures itself.
var otherVariables = []string{envConfig, envJoin, "WIRESPAN_READY_FD", "WIRESPAN_CPUPROFILE"}

// checkVariables refuses variables that are no settings: one that is misspelt would do
// nothing. One that is empty counts as not set.
func checkVariables() error {
	names := slices.Clone(otherVariables)
	for s := range config.Settings() {
		names = append(names, s.Env())
	}
	return unknownVariables(names, func(name string) string { return config.Nearest(name, bare(names)...) })
}

// checkLocations refuses variables that look like a misspelling of one by which commands
// find the agent.
func checkLocations(keys ...string) error {
	names := []string{envConfig}
	for s := range config.Settings() {
		if slices.Contains(keys, s.Key) {
			names = append(names, s.Env())
		}
	}
	return unknownVariables(names, func(name string) string { return config.NearMiss(name, bare(names)...) })
}

// withoutPrefix returns the rest of a name in upper case, if it begins with the prefix in
// whatever case.
func withoutPrefix(name string) (rest string, ours bool) {
	return strings.CutPrefix(strings.ToUpper(name), variablePrefix)
}

// bare returns names without their prefix.
func bare(names []string) (out []string) {
	for _, name := range names {
		out = append(out, strings.TrimPrefix(name, variablePrefix))
	}
	return out
}

// unknownVariables returns an error for all variables that have none of the names, and for
// which near has another one.
func unknownVariables(names []string, near func(string) string) error {
	var errs []error
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		short, ours := withoutPrefix(name)
		if !ours || value == "" || slices.Contains(names, name) {
			continue
		}
		if meant := near(short); meant != "" {
			errs = append(errs, fmt.Errorf("%.100s: no such setting; did you mean %s%s? (unset it, or correct it)", name, variablePrefix, meant))
		}
	}
	return errors.Join(errs...)
}

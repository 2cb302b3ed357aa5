package rig

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/bench"
	"github.com/wirespan/wirespan/device/tun"
)

// catalog returns all subjects: built in, shipped as drivers and from c.Drivers.
func catalog(c *Config) ([]subject, error) {
	all := builtin()
	drivers, err := shippedDrivers()
	if err != nil {
		return nil, err
	}
	for _, path := range c.Drivers {
		d, err := readDriver(path)
		if err != nil {
			return nil, err
		}
		// It replaces a shipped driver of the same name.
		drivers = slices.DeleteFunc(drivers, func(o *driver) bool { return o.Name == d.Name })
		drivers = append(drivers, d)
	}
	for _, d := range drivers {
		if find(all, d.Name) != nil {
			return nil, fmt.Errorf("driver %s: the name is taken by another subject", d.Name)
		}
		all = append(all, subject{name: d.Name, description: d.Description, privileged: true, driver: d})
	}
	return all, nil
}

// SubjectNames returns the names of the subjects that there are with these drivers.
func SubjectNames(drivers []string) []string {
	all, _ := catalog(&Config{Drivers: drivers}) // none if a driver is wrong, which a benchmark will tell
	var names []string
	for _, s := range all {
		names = append(names, s.name)
	}
	return names
}

func find(all []subject, name string) *subject {
	for i := range all {
		if all[i].name == name {
			return &all[i]
		}
	}
	return nil
}

// choose returns the report's entries of the subjects that c names, or of all but special
// ones.
// A subject that can't run here is marked as skipped. It is an error if none can
// run.
func choose(c *Config) ([]bench.Subject, error) {
	all, err := catalog(c)
	if err != nil {
		return nil, err
	}
	names := c.Subjects
	if len(names) == 0 {
		for _, s := range all {
			if !s.special {
				names = append(names, s.name)
			}
		}
	}
	var out []bench.Subject
	for _, name := range names {
		s := find(all, name)
		if s == nil {
			return nil, fmt.Errorf("unknown subject %.60q; known subjects: %s", name, nameList(all))
		}
		if slices.ContainsFunc(out, func(o bench.Subject) bool { return o.Name == name }) {
			return nil, fmt.Errorf("duplicate subject %s", name)
		}
		b := bench.Subject{Name: name, Description: s.description}
		if err := s.unavailable(c); err != nil {
			b.Skipped = err.Error()
		} else {
			b.Version = s.version(c)
		}
		out = append(out, b)
	}
	if c.Base != "" && !slices.Contains(names, c.Base) {
		return nil, fmt.Errorf("base %.60q is not among the subjects: %s", c.Base, strings.Join(names, ", "))
	}
	if !slices.ContainsFunc(out, func(s bench.Subject) bool { return s.Skipped == "" }) {
		return nil, fmt.Errorf("no subject can run here: %s: %s", out[0].Name, out[0].Skipped)
	}
	return out, nil
}

func nameList(all []subject) string {
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].name
	}
	return strings.Join(names, ", ")
}

// unavailable returns why the subject can't run here, or nil if it can.
func (s *subject) unavailable(c *Config) error {
	switch {
	case s.privileged && c.Unprivileged:
		return errors.New("needs root")
	case s.driver != nil:
		return s.driver.missing()
	case s.name == subjectTUN, s.name == subjectRelay:
		return tun.Available()
	case s.name == subjectUpstream:
		_, err := upstreamProgram(c)
		return err
	}
	return nil
}

// upstreamProgram returns the path of wireguard-go, absolute and with symbolic
// links resolved, since the engine hides directories of the host.
func upstreamProgram(c *Config) (string, error) {
	name := c.WireGuardGo
	if name == "" {
		name = subjectUpstream
	}
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil && c.WireGuardGo == "" {
		return "", errors.New("wireguard-go is not on PATH; name it with --wireguard-go")
	}
	return path, err
}

// version returns the version of the subject, or "" if it is not known.
func (s *subject) version(c *Config) string {
	switch {
	case s.driver != nil && len(s.driver.Version) > 0:
		return firstLine(s.driver.Version)
	case s.name == subjectUpstream:
		if path, err := upstreamProgram(c); err == nil {
			return firstLine([]string{path, "--version"})
		}
	case s.name == subjectUpstreamNet:
		return moduleVersion("golang.zx2c4.com/wireguard")
	case strings.HasPrefix(s.name, "wirespan-"):
		return c.Version
	}
	return ""
}

// firstLine runs a command and returns the first line that it prints, or "" if it
// fails.
func firstLine(argv []string) string {
	out, err := (&command{Argv: argv}).run(context.Background())
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	return line[:min(len(line), 100)]
}

// moduleVersion returns the version of a module in this program, or "".
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}

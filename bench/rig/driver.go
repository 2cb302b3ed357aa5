package rig

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDriver is the largest size of a driver file, in bytes.
const maxDriver = 64 << 10

//go:embed driver/*.yaml
var shipped embed.FS

// driver describes a tunnel program of another project. These variables are
// replaced in all of its texts:
//
//	${DIR}             an empty directory, the same for both ends
//	${SELF} ${OTHER}   a or b: this end and the other
//	${UNDERLAY_A} ${UNDERLAY_B} ${UNDERLAY_SELF} ${UNDERLAY_OTHER}
//	${TUNNEL_A} ${TUNNEL_B} ${TUNNEL_SELF} ${TUNNEL_OTHER}
//	${MTU}             of the tunnel, as in the options, or 1420
type driver struct {
	Name        string            `yaml:"name"`
	Description string            `yaml:"description"`
	Needs       []string          `yaml:"needs"`   // programs; if one is not on PATH, the subject is skipped
	Version     []string          `yaml:"version"` // a command that prints it in its first line
	Environment map[string]string `yaml:"environment"`
	Files       map[string]string `yaml:"files"`   // path in DIR: content; written at each end
	Server      []string          `yaml:"server"`  // runs at end a, before all other commands
	Prepare     [][]string        `yaml:"prepare"` // once, at end a; each repeated until it succeeds
	Start       []string          `yaml:"start"`   // at each end; the subject's process
	Ready       []string          `yaml:"ready"`   // at each end, repeated until it succeeds
	Address     []string          `yaml:"address"` // prints the tunnel address; empty: it is TUNNEL_SELF
	PIDs        []string          `yaml:"pids"`    // prints the processes whose CPU time and memory count; empty: that of Start
}

// shippedDrivers returns the drivers that come with the program.
func shippedDrivers() ([]*driver, error) {
	entries, err := shipped.ReadDir("driver")
	if err != nil {
		return nil, err
	}
	var out []*driver
	for _, e := range entries {
		data, err := shipped.ReadFile("driver/" + e.Name())
		if err != nil {
			return nil, err
		}
		d, err := parseDriver(e.Name(), data)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func readDriver(path string) (*driver, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("driver: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDriver+1))
	if err != nil {
		return nil, fmt.Errorf("driver %s: %w", path, err)
	}
	return parseDriver(path, data)
}

func parseDriver(path string, data []byte) (*driver, error) {
	if len(data) > maxDriver {
		return nil, fmt.Errorf("driver %s: larger than %d bytes", path, maxDriver)
	}
	var d driver
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("driver %s: %w", path, err)
	}
	if d.Name == "" || strings.ContainsAny(d.Name, ", \t\n") || len(d.Name) > 64 {
		return nil, fmt.Errorf("driver %s: name %.40q: must be one word", path, d.Name)
	}
	if len(d.Start) == 0 {
		return nil, fmt.Errorf("driver %s: start is missing", path)
	}
	for name := range d.Files {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("driver %s: file %q: must be a path within the run's directory", path, name)
		}
	}
	return &d, nil
}

// missing returns an error that names the needed programs that are not on PATH.
func (d *driver) missing() error {
	var missing []string
	for _, name := range d.Needs {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not on PATH: %s", strings.Join(missing, ", "))
	}
	return nil
}

// place holds the values of a driver's variables at one end.
type place struct {
	dir, self, other string
	a, b             ends
	mtu              int
}

// ends are one end's addresses.
type ends struct{ underlay, tunnel netip.Addr }

func (p place) expander() *strings.Replacer {
	self, other := p.a, p.b
	if p.self == "b" {
		self, other = p.b, p.a
	}
	return strings.NewReplacer(
		"${DIR}", p.dir, "${SELF}", p.self, "${OTHER}", p.other, "${MTU}", strconv.Itoa(p.mtu),
		"${UNDERLAY_A}", p.a.underlay.String(), "${UNDERLAY_B}", p.b.underlay.String(),
		"${UNDERLAY_SELF}", self.underlay.String(), "${UNDERLAY_OTHER}", other.underlay.String(),
		"${TUNNEL_A}", p.a.tunnel.String(), "${TUNNEL_B}", p.b.tunnel.String(),
		"${TUNNEL_SELF}", self.tunnel.String(), "${TUNNEL_OTHER}", other.tunnel.String(),
	)
}

// external is a driver at one end, with its variables replaced.
type external struct {
	Name        string
	Environment []string
	Files       map[string]string // absolute path: content
	Server      []string
	Prepare     [][]string
	Start       []string
	Ready       []string
	Address     []string
	PIDs        []string
}

// at returns the driver for one end.
func (d *driver) at(p place) *external {
	r := p.expander()
	expand := func(argv []string) []string {
		out := make([]string, len(argv))
		for i, s := range argv {
			out[i] = r.Replace(s)
		}
		return out
	}
	x := &external{
		Name: d.Name, Files: make(map[string]string), Start: expand(d.Start), Ready: expand(d.Ready),
		Address: expand(d.Address), PIDs: expand(d.PIDs),
	}
	if p.self == "a" {
		x.Server = expand(d.Server)
		for _, argv := range d.Prepare {
			x.Prepare = append(x.Prepare, expand(argv))
		}
	}
	for name, content := range d.Files {
		x.Files[filepath.Join(p.dir, r.Replace(name))] = r.Replace(content)
	}
	for k, v := range d.Environment {
		x.Environment = append(x.Environment, k+"="+r.Replace(v))
	}
	sort.Strings(x.Environment)
	return x
}

// command is a program that ends by itself.
type command struct {
	Argv        []string
	Environment []string
}

// run runs the command and returns the end of its output.
func (c *command) run(ctx context.Context) (string, error) {
	if len(c.Argv) == 0 {
		return "", errors.New("empty command")
	}
	ctx, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.WaitDelay = upTime / 10
	cmd.Env = append(os.Environ(), c.Environment...)
	out, err := start(cmd, 0)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", ended(strings.Join(c.Argv, " "), err, out)
	}
	return out.text(), nil
}

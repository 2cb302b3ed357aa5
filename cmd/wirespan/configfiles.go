package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/wirespan/wirespan/mesh/config"
)

const (
	defaultConfig    = "/etc/wirespan/config.yaml"
	defaultLayers    = "/etc/wirespan/config.d" // after it
	credentialConfig = "wirespan.yaml"          // of systemd's LoadCredential
	envConfig        = "WIRESPAN_CONFIG"
	maxConfigSize    = 4 << 20
)

// cli is what all commands share: the streams, and the settings as given on
// the command line.
type cli struct {
	stdio
	agent   string // the control socket of the agent to ask; empty: what settings say
	files   []string
	flags   *pflag.FlagSet         // of the settings that some command takes
	stdin   []byte                 // of -c -, read once so that a reload finds it again
	modes   map[string]fs.FileMode // of the files that were read
	exposed []string               // files with secrets that others may read
}

func newCLI(std stdio) *cli {
	return &cli{stdio: std, flags: pflag.NewFlagSet("settings", pflag.ContinueOnError)}
}

// given returns the flag of a setting if it was given; nil: it was not.
func (c *cli) given(s *config.Setting) *pflag.Flag {
	if f := c.flags.Lookup(s.Flag()); f != nil && f.Changed {
		return f
	}
	return nil
}

// overrides returns the settings from environment and flags, in rising precedence:
// those with one of the keys, or all. A variable that is empty counts as not set. A
// mistake in a flag is a usage error.
func (c *cli) overrides(keys ...string) ([]config.Override, error) {
	var env, flags []config.Override
	for s := range config.Settings() {
		if len(keys) > 0 && !slices.Contains(keys, s.Key) {
			continue
		}
		if v := os.Getenv(s.Env()); v != "" {
			env = append(env, config.Override{Origin: s.Env(), Key: s.Key, Value: v})
		}
		if f := c.given(s); f != nil {
			flags = append(flags, config.Override{Origin: "--" + s.Flag(), Key: s.Key, Value: f.Value.String()})
		}
	}
	if len(flags) > 0 {
		if _, err := config.Load(nil, config.Options{Overrides: flags, ClusterProvided: true}); err != nil {
			return nil, usageError{err}
		}
	}
	return append(env, flags...), nil
}

// loadSettings reads the settings with these keys, or all, from environment and
// flags, and no file.
func (c *cli) loadSettings(keys ...string) (*config.Config, error) {
	overrides, err := c.overrides(keys...)
	if err != nil {
		return nil, err
	}
	return config.Load(nil, config.Options{Overrides: overrides, ClusterProvided: true})
}

// load reads files, environment and flags.
func (c *cli) load() (*config.Config, error) {
	if err := checkVariables(); err != nil {
		return nil, err
	}
	overrides, err := c.overrides()
	if err != nil {
		return nil, err
	}
	files, err := c.readFiles()
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(files, config.Options{Overrides: overrides, ClusterProvided: true})
	if err == nil && cfg.HasIdentity {
		err = c.checkModes()
	}
	return cfg, err
}

// checkModes guards files that hold the cluster's secret: written by others is
// an error, read by others is noted for a warning.
func (c *cli) checkModes() error {
	c.exposed = nil
	for _, path := range slices.Sorted(maps.Keys(c.modes)) {
		mode := c.modes[path].Perm()
		if mode&0o022 != 0 {
			return fmt.Errorf("configuration %s is writable by others (mode %04o): check what it holds, then chmod 600 it", path, mode)
		}
		if mode&0o044 != 0 {
			c.exposed = append(c.exposed, path)
		}
	}
	return nil
}

// sources are the files that the user named.
func (c *cli) sources() []string {
	if len(c.files) > 0 {
		return c.files
	}
	if env := os.Getenv(envConfig); env != "" {
		return strings.Split(env, ",")
	}
	if path, ok := credential(credentialConfig); ok {
		return []string{path}
	}
	return nil
}

// credential finds a file that the service manager passed (systemd.exec(5),
// LoadCredential).
func credential(name string) (path string, ok bool) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", false
	}
	path = filepath.Join(dir, name)
	_, err := os.Stat(path)
	return path, err == nil
}

func (c *cli) readFiles() ([]config.File, error) {
	named := c.sources()
	if named == nil {
		return c.readDefaults()
	}
	var files []config.File
	for _, name := range named {
		more, err := c.readSource(name)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

// readDefaults reads the files of /etc/wirespan that are there.
func (c *cli) readDefaults() (files []config.File, err error) {
	for _, name := range []string{defaultConfig, defaultLayers} {
		more, err := c.readSource(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errEmptyDirectory) {
			return nil, err
		} else if err == nil {
			files = append(files, more...)
		}
	}
	return files, nil
}

// readable returns what can be read of the files, for commands that only look for
// the agent. It takes standard input only if a flag names it.
func (c *cli) readable() (files []config.File) {
	named := c.sources()
	if named == nil {
		named = []string{defaultConfig, defaultLayers}
	}
	for _, name := range named {
		if name == "-" && len(c.files) == 0 {
			continue
		}
		if more, err := c.readSource(name); err == nil {
			files = append(files, more...)
		}
	}
	return files
}

func (c *cli) readSource(name string) ([]config.File, error) {
	if name == "-" {
		if c.stdin == nil {
			data, err := io.ReadAll(io.LimitReader(c.in, maxConfigSize+1))
			if err != nil {
				return nil, fmt.Errorf("configuration from standard input: %w", err)
			}
			c.stdin = data
		}
		return []config.File{{Name: "standard input", Data: c.stdin}}, nil
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return c.readDirectory(name)
	}
	f, err := c.readFile(name)
	return []config.File{f}, err
}

// readDirectory reads the *.yaml and *.yml files of a directory, by name.
func (c *cli) readDirectory(dir string) ([]config.File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	var files []config.File
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		f, err := c.readFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("configuration directory %q: %w", dir, errEmptyDirectory)
	}
	return files, nil
}

var errEmptyDirectory = errors.New("holds no *.yaml or *.yml file")

func (c *cli) readFile(path string) (config.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return config.File{}, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		if c.modes == nil {
			c.modes = map[string]fs.FileMode{}
		}
		c.modes[path] = info.Mode()
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConfigSize+1))
	if err != nil {
		return config.File{}, fmt.Errorf("configuration: %w", err)
	}
	return config.File{Name: path, Data: data}, nil
}

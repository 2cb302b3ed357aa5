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

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wirespan/wirespan/mesh/config"
)

const (
	defaultConfig    = "/etc/wirespan/config.yaml"
	credentialConfig = "wirespan.yaml" // of systemd's LoadCredential
	envConfig        = "WIRESPAN_CONFIG"
	maxConfigSize    = 4 << 20
)

// cli is what all commands share: the streams, and the settings as given on
// the command line.
type cli struct {
	stdio
	files   []string
	flags   *pflag.FlagSet
	stdin   []byte                 // of -c -, read once so that a reload finds it again
	modes   map[string]fs.FileMode // of the files that were read
	exposed []string               // files with secrets that others may read
}

// addFlags makes every setting a flag of every command.
func (c *cli) addFlags(root *cobra.Command) {
	c.flags = root.PersistentFlags()
	c.flags.StringArrayVarP(&c.files, "config", "c", nil,
		"configuration `FILE`, directory of *.yaml, or - for standard input; repeatable (default "+defaultConfig+" if it is there)")
	for _, s := range config.Settings() {
		addSetting(root, s)
	}
}

// overrides are the settings from environment and flags, in rising precedence.
// A variable that is empty counts as not set.
func (c *cli) overrides() (env, flags []config.Override) {
	for _, s := range config.Settings() {
		if v := os.Getenv(s.Env()); v != "" {
			env = append(env, config.Override{Origin: s.Env(), Key: s.Key, Value: v})
		}
		if f := c.flags.Lookup(s.Flag()); f.Changed {
			flags = append(flags, config.Override{Origin: "--" + s.Flag(), Key: s.Key, Value: f.Value.String()})
		}
	}
	return env, flags
}

// checkedOverrides are overrides without a mistake in a flag, which is a usage error.
func (c *cli) checkedOverrides() (env, flags []config.Override, err error) {
	env, flags = c.overrides()
	if _, err := config.Load(nil, config.Options{Overrides: flags, ClusterProvided: true}); err != nil {
		return nil, nil, usageError{err}
	}
	return env, flags, nil
}

// loadWithoutFiles reads environment and flags.
func (c *cli) loadWithoutFiles() (*config.Config, error) {
	env, flags, err := c.checkedOverrides()
	if err != nil {
		return nil, err
	}
	return config.Load(nil, config.Options{Overrides: slices.Concat(env, flags), ClusterProvided: true})
}

// load reads files, environment and flags. A mistake in a flag is a usage error.
func (c *cli) load(clusterProvided bool) (*config.Config, error) {
	env, flags, err := c.checkedOverrides()
	if err != nil {
		return nil, err
	}
	files, err := c.readFiles()
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(files, config.Options{Overrides: slices.Concat(env, flags), ClusterProvided: clusterProvided})
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

// loadForClient is load for commands that only need to find the agent: a
// default file that this user may not read is passed over.
func (c *cli) loadForClient() (*config.Config, error) {
	cfg, err := c.load(true)
	if errors.Is(err, fs.ErrPermission) && len(c.sources()) == 0 {
		return c.loadWithoutFiles()
	}
	return cfg, err
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
		f, err := c.readFile(defaultConfig)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return []config.File{f}, err
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
		return nil, fmt.Errorf("configuration directory %q: holds no *.yaml or *.yml file", dir)
	}
	return files, nil
}

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

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/wirespan/wirespan/mesh/config"
)

const (
	serviceEnvironment = "/etc/default/wirespan" // EnvironmentFile of the units
	maxEnvironment     = 64 << 10                // bytes of it
)

// adoptEnvironment sets the settings that the units get from their environment file, and
// that this process has not been given. Commands that root runs beside the service, or
// before it runs, so find the same agent and the same state directory.
func adoptEnvironment() error {
	if os.Geteuid() != 0 {
		return nil
	}
	f, err := os.Open(serviceEnvironment)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("settings of the service: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEnvironment+1))
	if err == nil && len(data) > maxEnvironment {
		err = fmt.Errorf("it has more than %d bytes", maxEnvironment)
	}
	if err != nil {
		return fmt.Errorf("settings of the service, %s: %w", serviceEnvironment, err)
	}
	for name, value := range config.ParseEnvironment(string(data)) {
		_, given := os.LookupEnv(name)
		if _, ours := withoutPrefix(name); ours && !given {
			_ = os.Setenv(name, value) // a name that can't be one is no setting
		}
	}
	return nil
}

// ownSettings reports whether the process has been given settings by flags or variables.
func (c *cli) ownSettings() bool {
	own := len(c.files) > 0 || os.Getenv(envConfig) != ""
	for s := range config.Settings() {
		own = own || os.Getenv(s.Env()) != "" || c.given(s) != nil
	}
	return own
}

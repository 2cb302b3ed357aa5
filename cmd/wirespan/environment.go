package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
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
	for name, value := range parseEnvironment(string(data)) {
		if _, given := os.LookupEnv(name); !given && strings.HasPrefix(name, variablePrefix) {
			_ = os.Setenv(name, value) // a name that can't be one is no setting
		}
	}
	return nil
}

// parseEnvironment reads an EnvironmentFile of systemd.exec(5): lines NAME=VALUE, of which a
// value may have quotes, and backslashes as in sh(1). The last of two lines counts.
func parseEnvironment(text string) map[string]string {
	out := map[string]string{}
	for text != "" {
		line := strings.TrimLeft(text, " \t\r\n")
		if line == "" {
			break
		}
		if line[0] == '#' || line[0] == ';' {
			_, text, _ = strings.Cut(line, "\n")
			continue
		}
		end := strings.IndexAny(line, "=\n")
		if end < 0 || line[end] == '\n' { // no variable
			_, text, _ = strings.Cut(line, "\n")
			continue
		}
		out[strings.TrimRight(line[:end], " \t")], text = environmentValue(line[end+1:])
	}
	return out
}

// environmentValue returns the value with which text begins, and the text after its line.
func environmentValue(text string) (value, rest string) {
	var b strings.Builder
	kept := 0 // bytes of the value without white space at its end
	bare := false
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && c == '\n':
			return b.String()[:kept], text[i+1:]
		case quote == 0 && !bare && (c == '"' || c == '\''):
			quote = c
		case c == '\\' && quote != '\'':
			if i++; i == len(text) {
				break
			}
			if quote == '"' && !strings.ContainsRune("\"\\`$\n", rune(text[i])) {
				b.WriteByte(c)
			}
			if text[i] != '\n' {
				b.WriteByte(text[i])
			}
			bare, kept = quote == 0, b.Len()
		case quote == 0 && (c == ' ' || c == '\t' || c == '\r'):
			if bare {
				b.WriteByte(c)
			}
		default:
			b.WriteByte(c)
			bare, kept = quote == 0, b.Len()
		}
	}
	return b.String()[:kept], ""
}

// ownSettings reports whether the process has been given settings by flags or variables.
func (c *cli) ownSettings() bool {
	own := len(c.files) > 0 || os.Getenv(envConfig) != ""
	for _, s := range c.settings {
		own = own || os.Getenv(s.Env()) != "" || c.flags.Lookup(s.Flag()).Changed
	}
	return own
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/wirespan/wirespan/mesh/config"
)

const (
	envJoin        = "WIRESPAN_JOIN"
	credentialJoin = "wirespan.join" // of systemd's LoadCredential
	maxTokenFile   = 64 << 10        // bytes; a token has at most 4 KiB, white space aside
)

// joinToken finds the token: the flag's, the environment's or a credential;
// nil if there is none. One that is given but empty is a mistake (a variable
// that was not set, say), which must not found a mesh by accident.
func (c *cli) joinToken(flag string, given bool) (*config.Token, error) {
	arg := flag
	if env, ok := os.LookupEnv(envJoin); ok && !given {
		arg, given = env, true
	}
	if path, ok := credential(credentialJoin); ok && !given {
		arg, given = "@"+path, true
	}
	if !given {
		return nil, nil
	}
	if strings.TrimSpace(arg) == "" {
		return nil, usageError{fmt.Errorf("join token: empty (--join or %s is given without one)", envJoin)}
	}
	text, err := c.readToken(arg)
	if err != nil {
		return nil, fmt.Errorf("join token: %w", err)
	}
	t, err := config.ParseToken(text)
	return &t, err
}

// readToken reads a token given as such, as @FILE, or - for standard input.
func (c *cli) readToken(arg string) (string, error) {
	var in io.Reader
	switch {
	case arg == "-":
		in = c.in
	case strings.HasPrefix(arg, "@"):
		f, err := os.Open(arg[1:])
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	default:
		return arg, nil
	}
	data, err := io.ReadAll(io.LimitReader(in, maxTokenFile+1))
	if err == nil && len(data) > maxTokenFile {
		err = errors.New("too large to be one")
	}
	return string(data), err
}

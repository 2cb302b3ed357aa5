package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/wirespan/wirespan/cmd/wirespan/quick"
	"github.com/wirespan/wirespan/mesh/control"
)

// page is what a command writes for the terminal of another process.
type page struct {
	bytes.Buffer
	columns int
}

// forClients returns what runs commands for clients of this agent. Usual says that a client
// which does not name an agent would find this one.
func forClients(usual bool) control.Command {
	return func(ctx context.Context, socket string, args []string, columns int, unnamed bool) ([]byte, error) {
		if _, ok := quick.Socket(args); !ok || unnamed && !usual {
			return nil, errors.New("this agent does not run that for a client")
		}
		out := &page{columns: columns}
		c := newCLI(stdio{strings.NewReader(""), out, io.Discard})
		c.agent = socket
		if code := c.run(ctx, args); code != 0 {
			return nil, fmt.Errorf("the command ends with the code %d", code) // the client runs it, too, and tells why
		}
		return out.Bytes(), nil
	}
}

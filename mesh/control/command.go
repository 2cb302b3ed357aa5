package control

import (
	"context"
	"strconv"

	"github.com/wirespan/wirespan/mesh/control/http1"
)

// Command runs a command that asks the agent at socket, given by its name and arguments, as in
// a terminal with so many columns (0: none). It returns the output of a success. Usual says
// that the client has not named this agent, but takes it for the one at the usual place.
type Command func(ctx context.Context, socket string, args []string, columns int, usual bool) ([]byte, error)

// command takes the parameters arg (the name, and each argument), columns and usual. A client
// that is refused runs the command itself.
func (c *Server) command(ctx context.Context, w *http1.Response, r *http1.Request) {
	if c.cfg.Command == nil {
		w.Error("this agent runs no commands", http1.StatusNotImplemented)
		return
	}
	columns, _ := strconv.Atoi(r.Query.Get("columns")) // 0 is no terminal
	out, err := c.cfg.Command(ctx, c.cfg.Path, r.Query["arg"], columns, r.Query.Get("usual") != "")
	if err != nil {
		w.Error(err.Error(), http1.StatusUnprocessable)
		return
	}
	w.Length = len(out)
	_, _ = w.Write(out) // the client has gone: nobody to tell
}

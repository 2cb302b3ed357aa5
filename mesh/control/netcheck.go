package control

import (
	"context"
	"time"

	"github.com/wirespan/wirespan/mesh/control/http1"

	"github.com/wirespan/wirespan/mesh"
)

// netcheckTime is how long an agent takes at most to find out about its network.
const netcheckTime = 30 * time.Second

func (c *Server) netcheck(ctx context.Context, w *http1.Response, r *http1.Request) {
	if c.cfg.Netcheck == nil {
		w.Error("this agent does not look at its network", http1.StatusUnprocessable)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, netcheckTime)
	defer cancel()
	n, err := c.cfg.Netcheck(ctx)
	if err != nil {
		w.Error(err.Error(), http1.StatusUnprocessable)
		return
	}
	writeJSON(w, n)
}

// Netcheck makes the agent find out about its network.
func (c *Client) Netcheck(ctx context.Context) (n mesh.Netcheck, err error) {
	err = c.call(ctx, request{method: http1.MethodPost, path: "/v1/netcheck", work: netcheckTime}, &n)
	return n, err
}

package control

import (
	"context"
	"net/http"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// netcheckTime is how long an agent takes at most to find out about its network.
const netcheckTime = 30 * time.Second

func (c *Server) netcheck(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Netcheck == nil {
		http.Error(w, "this agent does not look at its network", http.StatusUnprocessableEntity)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), netcheckTime)
	defer cancel()
	n, err := c.cfg.Netcheck(ctx)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	writeJSON(w, n)
}

// Netcheck makes the agent find out about its network.
func (c *Client) Netcheck(ctx context.Context) (n mesh.Netcheck, err error) {
	err = c.call(ctx, request{method: http.MethodPost, path: "/v1/netcheck", work: netcheckTime}, &n)
	return n, err
}

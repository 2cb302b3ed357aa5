package control

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/wirespan/wirespan/mesh/control/http1"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh/agent"
)

// explain takes the parameters to, port, protocol and from.
func (c *Server) explain(ctx context.Context, w *http1.Response, r *http1.Request) {
	var q agent.ExplainQuery
	var err error
	values := r.Query
	if q.To, err = netip.ParseAddr(values.Get("to")); err != nil {
		w.Error(fmt.Sprintf("parameter to: %q is not an IP address", values.Get("to")), http1.StatusBadRequest)
		return
	}
	if port := values.Get("port"); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			w.Error("parameter port: not a port", http1.StatusBadRequest)
			return
		}
		q.Port = uint16(n)
	}
	q.Protocol, q.From = firewall.Protocol(values.Get("protocol")), values.Get("from")
	if q.Protocol != "" && q.Protocol.Number() == 0 {
		w.Error("parameter protocol: none of tcp, udp, icmp and icmpv6", http1.StatusBadRequest)
		return
	}
	e, err := c.cfg.Agent.Explain(q)
	if err != nil {
		w.Error(err.Error(), http1.StatusUnprocessable)
		return
	}
	writeJSON(w, e)
}

package control

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh/agent"
)

// explain takes the parameters to, port, protocol and from.
func (c *Server) explain(w http.ResponseWriter, r *http.Request) {
	var q agent.ExplainQuery
	var err error
	values := r.URL.Query()
	if q.To, err = netip.ParseAddr(values.Get("to")); err != nil {
		http.Error(w, fmt.Sprintf("parameter to: %q is not an IP address", values.Get("to")), http.StatusBadRequest)
		return
	}
	if port := values.Get("port"); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			http.Error(w, "parameter port: not a port", http.StatusBadRequest)
			return
		}
		q.Port = uint16(n)
	}
	q.Protocol, q.From = firewall.Protocol(values.Get("protocol")), values.Get("from")
	if q.Protocol != "" && q.Protocol.Number() == 0 {
		http.Error(w, "parameter protocol: none of tcp, udp, icmp and icmpv6", http.StatusBadRequest)
		return
	}
	e, err := c.cfg.Agent.Explain(q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	writeJSON(w, e)
}

//go:build !edge

package control

import (
	"errors"
	"io"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/wirespan/wirespan/mesh"
)

// collector turns the newest status into metrics at scrape time; it keeps
// nothing of its own.
type collector struct {
	agent Agent
	descs map[string]*prometheus.Desc
}

// NewMetrics returns the agent's metrics, together with those of others in this process.
func NewMetrics(a Agent, others ...prometheus.Gatherer) Metrics {
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(a))
	all := append(prometheus.Gatherers{reg}, others...)
	return func(w io.Writer) error {
		families, err := all.Gather()
		if err != nil {
			return err
		}
		enc := expfmt.NewEncoder(w, metricsType)
		var errs []error
		for _, f := range families {
			errs = append(errs, enc.Encode(f))
		}
		return errors.Join(errs...)
	}
}

func newCollector(a Agent) *collector {
	peer := []string{"peer", "public_key"}
	return &collector{a, map[string]*prometheus.Desc{
		"info":      prometheus.NewDesc("wirespan_info", "Always 1; version and data plane of this agent.", []string{"version", "backend"}, nil),
		"peers":     prometheus.NewDesc("wirespan_peers", "Peers by state.", []string{"state"}, nil),
		"receive":   prometheus.NewDesc("wirespan_peer_receive_bytes_total", "Bytes received from a peer, encrypted.", peer, nil),
		"transmit":  prometheus.NewDesc("wirespan_peer_transmit_bytes_total", "Bytes sent to a peer, encrypted.", peer, nil),
		"handshake": prometheus.NewDesc("wirespan_peer_last_handshake_seconds", "Unix time of the last handshake; 0 before the first.", peer, nil),
		"relayed":   prometheus.NewDesc("wirespan_peer_relayed", "Always 1; the relay by which a peer is reached. A peer that is reached directly has none.", []string{"peer", "public_key", "relay"}, nil),
		"relay":     prometheus.NewDesc("wirespan_relay_used_bytes_total", "Bytes through a relay that this node uses: up is to peers.", []string{"relay", "direction"}, nil),
		"discovery": prometheus.NewDesc("wirespan_discovery_connected", "Whether a discovery service is connected.", []string{"service"}, nil),
		"dropped":   prometheus.NewDesc("wirespan_initiations_dropped_total", "Handshakes not started, since too many were with addresses that have not answered.", nil, nil),
		"condition": prometheus.NewDesc("wirespan_conditions", "Problems that status shows, by type.", []string{"type"}, nil),
	}}
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.agent.Status()
	send := func(desc string, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.descs[desc], kind, v, labels...)
	}
	send("info", prometheus.GaugeValue, 1, s.Version, s.Backend)
	states := map[mesh.PeerState]int{mesh.PeerStateUnknown: 0, mesh.PeerStateUp: 0, mesh.PeerStateDown: 0}
	for _, p := range s.Peers {
		states[p.State]++
		key, label := p.PublicKey.String(), strings.ToValidUTF8(p.Label, "\ufffd") // else the metric panics
		send("receive", prometheus.CounterValue, float64(p.ReceiveBytes), label, key)
		send("transmit", prometheus.CounterValue, float64(p.TransmitBytes), label, key)
		handshake := 0.0
		if !p.LastHandshake.IsZero() {
			handshake = float64(p.LastHandshake.Unix())
		}
		send("handshake", prometheus.GaugeValue, handshake, label, key)
		if p.Relay != "" {
			send("relayed", prometheus.GaugeValue, 1, label, key, strings.ToValidUTF8(p.Relay, "\ufffd"))
		}
	}
	for _, r := range s.Relays {
		relay := strings.ToValidUTF8(r.Relay, "\ufffd")
		send("relay", prometheus.CounterValue, float64(r.SentBytes), relay, "up")
		send("relay", prometheus.CounterValue, float64(r.ReceivedBytes), relay, "down")
	}
	for state, n := range states {
		send("peers", prometheus.GaugeValue, float64(n), state.String())
	}
	send("dropped", prometheus.CounterValue, float64(s.InitiationsDropped))
	for _, d := range s.Discovery {
		connected := 0.0
		if d.Connected {
			connected = 1
		}
		send("discovery", prometheus.GaugeValue, connected, d.Name)
	}
	types := map[mesh.ConditionType]int{}
	for _, cond := range s.Conditions {
		types[cond.Type]++
	}
	for typ, n := range types {
		send("condition", prometheus.GaugeValue, float64(n), string(typ))
	}
}

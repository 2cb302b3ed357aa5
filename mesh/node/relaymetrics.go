//go:build !edge

package node

import (
	"cmp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wirespan/wirespan/mesh"
)

// maxRelayLabels is how many members have metrics of their own: those that have used most. The
// others are counted together.
const (
	maxRelayLabels = 100
	relayedOthers  = "(others)"
)

var (
	descRelayed        = prometheus.NewDesc("wirespan_relay_allocations", "Relayed addresses that a member has at this node's relay.", []string{"member"}, nil)
	descRelayedBytes   = prometheus.NewDesc("wirespan_relay_bytes_total", "Bytes that this node has relayed: up is from the member to its peers.", []string{"member", "direction"}, nil)
	descRelayedPackets = prometheus.NewDesc("wirespan_relay_packets_total", "Packets that this node has relayed.", []string{"member"}, nil)
	descRelayDropped   = prometheus.NewDesc("wirespan_relay_packets_dropped_total", "Packets that this node did not relay: beyond the bandwidth, or not allowed.", []string{"member"}, nil)
	descRelayRefused   = prometheus.NewDesc("wirespan_relay_refused_total", "Relayed addresses that a member asked for and did not get.", []string{"member"}, nil)
)

// relayCollector reads what members have used of the relay at scrape time.
type relayCollector struct{ usage func() []mesh.RelayUsage }

// Describe implements prometheus.Collector.
func (c relayCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRelayed, descRelayedBytes, descRelayedPackets, descRelayDropped, descRelayRefused} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c relayCollector) Collect(ch chan<- prometheus.Metric) {
	for _, u := range labelled(c.usage()) {
		u.Member = strings.ToValidUTF8(u.Member, "\ufffd") // else the metric panics
		ch <- prometheus.MustNewConstMetric(descRelayed, prometheus.GaugeValue, float64(len(u.Relayed)), u.Member)
		for _, counter := range []struct {
			desc  *prometheus.Desc
			value uint64
			more  []string
		}{
			{descRelayedBytes, u.SentBytes, []string{"up"}},
			{descRelayedBytes, u.ReceivedBytes, []string{"down"}},
			{descRelayedPackets, u.Packets, nil},
			{descRelayDropped, u.DroppedPackets, nil},
			{descRelayRefused, u.Refused, nil},
		} {
			ch <- prometheus.MustNewConstMetric(counter.desc, prometheus.CounterValue, float64(counter.value), append([]string{u.Member}, counter.more...)...)
		}
	}
}

// labelled returns the usage of those who have used most, and that of all others as one.
func labelled(list []mesh.RelayUsage) []mesh.RelayUsage {
	if len(list) <= maxRelayLabels {
		return list
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b mesh.RelayUsage) int {
		return cmp.Compare(b.SentBytes+b.ReceivedBytes, a.SentBytes+a.ReceivedBytes)
	})
	others := mesh.RelayUsage{Member: relayedOthers}
	for _, u := range list[maxRelayLabels:] {
		others.Relayed = append(others.Relayed, u.Relayed...)
		others.SentBytes += u.SentBytes
		others.ReceivedBytes += u.ReceivedBytes
		others.Packets += u.Packets
		others.DroppedPackets += u.DroppedPackets
		others.Refused += u.Refused
	}
	return append(list[:maxRelayLabels:maxRelayLabels], others)
}

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// placeText says where a peer is reached, and by which relay.
func placeText(p agent.PeerView) string {
	if p.Relay == "" {
		return p.Endpoint.String()
	}
	return p.Endpoint.String() + " via " + mesh.QuoteName(p.Relay)
}

// relayLine says how a relay fares that this node uses.
func relayLine(r mesh.RelayView) string {
	name := mesh.QuoteName(r.Relay)
	switch {
	case r.Error != "":
		return fmt.Sprintf("%s: %s", name, r.Error)
	case !r.Relayed.IsValid():
		return name + ": asking for an address"
	}
	line := fmt.Sprintf("%s gives %v by %s", name, r.Relayed, r.Transport)
	if r.RTT > 0 {
		rtt := time.Duration(r.RTT * float64(time.Millisecond)).Round(10 * time.Microsecond)
		line += fmt.Sprintf(", %v away", rtt)
	}
	line += fmt.Sprintf(", %s out, %s in", bytesText(r.SentBytes), bytesText(r.ReceivedBytes))
	if n := len(r.Refused); n > 0 {
		line += fmt.Sprintf("; it does not relay to %d of the peers' addresses", n)
	}
	if strings.HasPrefix(r.Relay, "turn:") || strings.HasPrefix(r.Relay, "turns:") { // members let in handshakes from anywhere
		line += "; a peer that moves is let in when discovery has its new address"
	}
	return line
}

// maxRelayUsers is how many members a line names.
const maxRelayUsers = 8

// relayingLine says what this node relays for others; empty if it offers no relay.
func relayingLine(v mesh.RelayingView) string {
	if v.Port == 0 {
		return ""
	}
	var users []string
	for _, u := range v.Members {
		if len(u.Relayed) > 0 || u.Packets > 0 {
			users = append(users, fmt.Sprintf("%s %s out, %s in", mesh.QuoteName(u.Member), bytesText(u.SentBytes), bytesText(u.ReceivedBytes)))
		}
	}
	if len(users) == 0 {
		return fmt.Sprintf("offered at port %d, used by nobody", v.Port)
	}
	more := ""
	if n := len(users) - maxRelayUsers; n > 0 {
		users, more = users[:maxRelayUsers], fmt.Sprintf("; and %d more", n)
	}
	return fmt.Sprintf("offered at port %d: %s%s", v.Port, strings.Join(users, "; "), more)
}

// printRelays shows the relays of a node: those that it uses and why, and its own.
func printRelays(w io.Writer, n mesh.Netcheck) {
	for _, p := range n.Peers {
		if p.Direct != "" {
			fmt.Fprintf(w, "\n%s is not reached directly: %s\n", mesh.QuoteName(p.Name), p.Direct)
		}
	}
	if len(n.Relays) > 0 {
		fmt.Fprintln(w, "\nRELAYS")
	}
	for _, r := range n.Relays {
		fmt.Fprintln(w, relayLine(r))
	}
	if v := n.Relaying; v.Port != 0 {
		fmt.Fprintf(w, "\nThis node relays for others: it needs UDP and TCP port %d, and UDP ports %s, open from everywhere\n", v.Port, v.Ports)
	}
}

package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/wirespan/wirespan/mesh"
)

// Values of Relay.
const (
	RelayOffer = "offer"
	RelayAuto  = "auto"
	RelayNever = "never"
)

// relaySettings are for relays, by which peers are reached that nothing else leads to.
var relaySettings = []Setting{{
	Key: "relay", Values: []string{RelayOffer, RelayAuto, RelayNever}, Default: RelayAuto,
	Help: "Relays (TURN) for peers that no direct path leads to: auto uses those of members, offer also relays for them, never does neither.",
	at:   func(w *Wirespan) target { return scalar(&w.Relay, oneOf(RelayOffer, RelayAuto, RelayNever)) },
}, {
	Key: "relayPorts", Default: "49152-49407",
	Help: "UDP ports (FIRST-LAST, 1 to 1024 of them) at which this node relays, one for each member that is relayed.",
	at:   func(w *Wirespan) target { return scalar(&w.RelayPorts, parsePortRange) },
}, {
	Key: "relayBandwidth", Kind: KindInt, Default: "200",
	Help: "What this node relays at most, in Mbit/s, both directions together.",
	at:   func(w *Wirespan) target { return scalar(&w.RelayBandwidth, parseBandwidth) },
}, {
	Key: "relayNetworks", Kind: KindList, Example: "10.0.0.0/8",
	Help: "Private networks (CIDR) to which this node relays and in which it is itself reached, besides public addresses.",
	at: func(w *Wirespan) target {
		return list(&w.RelayNetworks, parseRelayNetwork, checkRelayNetworks)
	},
}, {
	Key: "relayServers", Kind: KindList, Example: "turn:turn.example.org,turns:turn.example.org",
	Help: "Other TURN servers that this node uses: turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT].",
	at: func(w *Wirespan) target {
		return list(&w.RelayServers, parseRelayServer, checkRelayServers)
	},
}, {
	Key: "relayUser", Default: "wirespan",
	Help: "User name for relayServers.",
	at:   func(w *Wirespan) target { return scalar(&w.RelayUser, parseUser) },
}, {
	Key: "relayPasswordFile", Example: "/run/secrets/relay-password",
	Help: "File with the password for relayServers, in its first line.",
	at:   func(w *Wirespan) target { return scalar(&w.RelayPasswordFile, parsePath) },
}}

// PortRange is a range of ports.
type PortRange struct{ First, Last uint16 }

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Len returns how many ports there are.
func (r PortRange) Len() int { return int(r.Last) - int(r.First) + 1 }

// Contains reports whether a port is in the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// maxRange is the largest range of ports. Those below firstUser are for services of the system.
const (
	maxRange  = 1024
	firstUser = 1024
)

func parsePortRange(s string) (PortRange, error) {
	first, last, ok := strings.Cut(s, "-")
	a, errFirst := parsePort(strings.TrimSpace(first))
	b, errLast := parsePort(strings.TrimSpace(last))
	r := PortRange{a, b}
	switch {
	case !ok || errFirst != nil || errLast != nil:
		return PortRange{}, fmt.Errorf("%.100q is not a range of ports, FIRST-LAST", s)
	case a < firstUser:
		return PortRange{}, fmt.Errorf("%v: the first port is below %d", r, firstUser)
	case b < a:
		return PortRange{}, fmt.Errorf("%v: the last port is below the first", r)
	case r.Len() > maxRange:
		return PortRange{}, fmt.Errorf("%v: want 1 to %d ports", r, maxRange)
	}
	return r, nil
}

// privateNetworks are what relays reach only if relayNetworks says so.
var privateNetworks = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7"),
}

func parseRelayNetwork(s string) (netip.Prefix, error) {
	p, err := parseLocatedNetwork(s)
	if err == nil && !slices.ContainsFunc(privateNetworks, func(private netip.Prefix) bool { return contains(private, p) }) {
		err = fmt.Errorf("%v is not private (within one of %v)", p, privateNetworks)
	}
	return p, err
}

func checkRelayNetworks(networks []netip.Prefix) error {
	if n := len(networks); n > mesh.MaxRelayNetworks {
		return fmt.Errorf("%d networks; the mesh is told of at most %d", n, mesh.MaxRelayNetworks)
	}
	return checkDisjoint(networks)
}

// maxRelayServers leaves the mesh, which chooses among 8 relays, some of members.
const maxRelayServers = 4

func checkRelayServers(servers []mesh.RelayServer) error {
	if n := len(servers); n > maxRelayServers {
		return fmt.Errorf("%d servers; at most %d are used", n, maxRelayServers)
	}
	return nil
}

// maxBandwidth is the largest bandwidth, in Mbit/s.
const maxBandwidth = 100_000

func parseBandwidth(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 || n > maxBandwidth {
		return 0, fmt.Errorf("%.100q is not a number of Mbit/s from 1 to %d", s, maxBandwidth)
	}
	return int(n), nil
}

// Ports of TURN without a port in the URI (RFC 8656).
const (
	turnPort  = 3478
	turnsPort = 5349
)

// parseRelayServer reads a URI of RFC 7065.
func parseRelayServer(s string) (mesh.RelayServer, error) {
	r := mesh.RelayServer{Transport: mesh.RelayUDP}
	scheme, rest, _ := strings.Cut(s, ":")
	at, query, hasQuery := strings.Cut(rest, "?")
	transport, isTransport := strings.CutPrefix(query, "transport=")
	port := uint16(turnPort)
	switch {
	case scheme != "turn" && scheme != "turns", strings.HasPrefix(rest, "//"), hasQuery && !isTransport:
		return r, fmt.Errorf("%.100q is not turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT]", s)
	case scheme == "turns" && hasQuery && transport != mesh.RelayTCP:
		return r, fmt.Errorf("%.100q: TLS is over TCP only", s)
	case scheme == "turns":
		r.Transport, port = mesh.RelayTLS, turnsPort
	case hasQuery && transport != mesh.RelayUDP && transport != mesh.RelayTCP:
		return r, fmt.Errorf("%.100q: transport is neither udp nor tcp", s)
	case hasQuery:
		r.Transport = transport
	}
	host, given, err := splitHostPort(at)
	switch {
	case err != nil:
	case host == "":
		err = errors.New("there is no host")
	case given == 0 && strings.HasSuffix(at, ":0"):
		err = errors.New("there is no port 0")
	}
	if err != nil {
		return r, fmt.Errorf("%.100q: %w", s, err)
	}
	r.Host, r.Port = host, cmp.Or(given, port)
	return r, nil
}

// validateRelay refuses relayed ports that are used otherwise.
func (l *loader) validateRelay() {
	w := &l.cfg.Wirespan
	if w.Relay != RelayOffer {
		return
	}
	_, discovery, _ := splitHostPort(w.DiscoveryListen) // it was read before
	for _, taken := range []struct {
		port uint16
		by   string
	}{{w.ListenPort, "listenPort"}, {discovery, "discoveryListen"}} {
		if taken.port != 0 && w.RelayPorts.Contains(taken.port) {
			at := l.settings[taken.by].at
			if g, isGiven := l.settings["relayPorts"]; isGiven {
				at = g.at
			}
			l.add(at, "relayPorts: %v has the port of %s, %d: choose other ports", w.RelayPorts, taken.by, taken.port)
			return
		}
	}
}

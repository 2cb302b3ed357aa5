package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh/agent"
)

// Target is what [Client.Explain] is asked about, as users write it.
type Target struct {
	host     string // an address or a peer's name
	port     uint16 // 0: none
	protocol firewall.Protocol
}

// ParseTarget reads ADDRESS[:PORT[/PROTO]]; an IPv6 address with a port is in brackets.
func ParseTarget(s string) (t Target, err error) {
	rest, proto, hasProto := strings.Cut(s, "/")
	if hasProto {
		switch t.protocol = firewall.Protocol(proto); t.protocol {
		case firewall.ProtocolTCP, firewall.ProtocolUDP, firewall.ProtocolICMP, firewall.ProtocolICMPv6:
		default:
			return t, fmt.Errorf("%q: the protocol is none of tcp, udp, icmp and icmpv6", s)
		}
	}
	if _, err := netip.ParseAddr(rest); err == nil {
		t.host = rest
		return t, nil
	}
	host, port, hasPort := rest, "", false
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
		host, port, hasPort = rest[:i], rest[i+1:], true
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	} else if strings.Contains(host, ":") {
		return t, fmt.Errorf("%q: not an address (an IPv6 address with a port is in brackets)", s)
	}
	t.host = host
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return t, fmt.Errorf("%q: %q is not a port", s, port)
		}
		t.port = uint16(n)
		if !hasProto {
			t.protocol = firewall.ProtocolTCP
		}
	}
	if t.host == "" {
		return t, errors.New("an address or a peer's name is missing")
	}
	return t, nil
}

// Query returns the question. A name is looked up among the peers.
func (t Target) Query(ctx context.Context, cl *Client, from string) (q agent.ExplainQuery, err error) {
	addr, err := netip.ParseAddr(t.host)
	if err != nil {
		s, err := cl.Status(ctx)
		if err != nil {
			return q, err
		}
		if isSelf(s, t.host) {
			addr = s.Node.Address
		} else if peer, err := FindPeer(s, t.host); err != nil {
			return q, err
		} else {
			addr = peer.Address
		}
	}
	return agent.ExplainQuery{To: addr, Port: t.port, Protocol: t.protocol, From: from}, nil
}

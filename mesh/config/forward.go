package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/firewall"
)

// Limits of forwards.
const (
	maxForwards        = 256
	maxForwardText     = 4096 // bytes
	maxForwardRange    = 1000 // ports of one
	maxForwardPorts    = 4096 // of all together: each has a listener
	maxForwardAllow    = 64
	forwardSyntaxLocal = "[BIND:]PORT:NODE:PORT or /SOCKET:NODE:PORT"
	forwardSyntaxMesh  = "PORT:HOST:PORT or PORT:/SOCKET"
)

// ForwardKind says on which side a forward listens.
type ForwardKind string

// Kinds of forwards.
const (
	ForwardLocal ForwardKind = "local" // listens on this host, leads into the mesh
	ForwardMesh  ForwardKind = "mesh"  // listens on the mesh address, leads to this host or one that it reaches
)

// Forward is a port, a range of ports or a unix socket whose connections are passed on.
// Values are comparable by [Forward.String].
type Forward struct {
	Kind         ForwardKind
	Protocol     firewall.Protocol  // TCP or UDP
	Bind         netip.Addr         // to listen on. Zero: 127.0.0.1 and ::1. Unspecified IPv6: everything
	Ports        firewall.PortRange // to listen on
	Socket       string             // path, in place of Bind and Ports
	Target       string             // name or IP address
	TargetPorts  firewall.PortRange // as many as Ports
	TargetSocket string             // path, in place of Target and TargetPorts
	Proxy        bool               // the target is told the client's address (PROXY protocol v2)
	Allow        []string           // nodenames, node ids and prefixes that may connect; none: all
}

// ParseForward reads a forward:
//
//	local: [BIND:]PORT[-PORT]:NODE:PORT[-PORT][/udp] or SOCKET:NODE:PORT
//	mesh:  PORT[-PORT]:HOST:PORT[-PORT][/udp] or PORT:SOCKET, each with [,proxy][,allow=PEER]...
//
// IPv6 addresses are in brackets; BIND may be * for all addresses. SOCKET is an absolute
// path, which may follow "unix:".
func ParseForward(s string, kind ForwardKind) (Forward, error) {
	fail := func(err error) (Forward, error) {
		return Forward{}, fmt.Errorf("%s forward %q: %w", kind, clip(s), err)
	}
	if len(s) > maxForwardText {
		return fail(fmt.Errorf("longer than %d bytes", maxForwardText))
	}
	f := Forward{Kind: kind, Protocol: firewall.ProtocolTCP}
	way, options, _ := strings.Cut(s, ",")
	var err error
	if kind == ForwardLocal {
		err = f.parseLocal(way)
	} else {
		err = f.parseMesh(way)
	}
	if err != nil {
		return fail(err)
	}
	if way != s {
		if err := f.parseOptions(options); err != nil {
			return fail(err)
		}
	}
	return f, nil
}

func (f *Forward) parseLocal(s string) error {
	rest := s
	if path, after, isSocket, err := cutSocket(s); isSocket {
		if err != nil {
			return fmt.Errorf("socket to listen on: %w", err)
		}
		f.Socket, rest = path, after
	}
	parts, err := splitColons(rest)
	if err != nil {
		return err
	}
	listen := len(parts) - 2
	if f.Socket != "" && listen != 0 || f.Socket == "" && listen != 1 && listen != 2 {
		return fmt.Errorf("expected %s, with IPv6 addresses in brackets", forwardSyntaxLocal)
	}
	if listen == 2 {
		if f.Bind, err = parseBind(parts[0]); err != nil {
			return fmt.Errorf("address to listen on: %w", err)
		}
	}
	if f.Socket == "" {
		if f.Ports, err = parsePorts(parts[listen-1]); err != nil {
			return fmt.Errorf("port to listen on: %w", err)
		}
	}
	if err := f.parseTarget(parts[listen], parts[listen+1]); err != nil {
		return err
	}
	if addr, err := netip.ParseAddr(f.Target); err == nil && addr.IsLoopback() || strings.EqualFold(f.Target, "localhost") {
		return fmt.Errorf("target %s is not a node: the target of a local forward is in the mesh", f.Target)
	}
	return nil
}

func (f *Forward) parseMesh(s string) error {
	ports, rest, found := strings.Cut(s, ":")
	if !found {
		return fmt.Errorf("expected %s", forwardSyntaxMesh)
	}
	var err error
	if f.Ports, err = parsePorts(ports); err != nil {
		return fmt.Errorf("port to listen on: %w (a mesh forward listens on the mesh address: %s)", err, forwardSyntaxMesh)
	}
	path, after, isSocket, err := cutSocket(rest)
	if isSocket {
		switch {
		case err != nil:
			return fmt.Errorf("target socket: %w", err)
		case after != "":
			return fmt.Errorf("target socket: unexpected %q after the path", clip(after))
		case f.Ports.From != f.Ports.To:
			return errors.New("a range of ports can't lead to one socket")
		}
		f.TargetSocket = path
		return nil
	}
	parts, err := splitColons(rest)
	if err != nil {
		return err
	}
	if len(parts) != 2 {
		return fmt.Errorf("expected %s, with IPv6 addresses in brackets", forwardSyntaxMesh)
	}
	return f.parseTarget(parts[0], parts[1])
}

// parseTarget reads HOST and PORT[-PORT][/PROTOCOL].
func (f *Forward) parseTarget(host, ports string) (err error) {
	ports, protocol, given := strings.Cut(ports, "/")
	switch p := firewall.Protocol(protocol); {
	case !given:
	case p != firewall.ProtocolTCP && p != firewall.ProtocolUDP:
		return fmt.Errorf("protocol %q is neither tcp nor udp", clip(protocol))
	case p == firewall.ProtocolUDP && f.Socket != "":
		return errors.New("a unix socket can't forward UDP")
	default:
		f.Protocol = p
	}
	if f.Target, err = parseTargetHost(host); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if f.TargetPorts, err = parsePorts(ports); err != nil {
		return fmt.Errorf("target port: %w", err)
	}
	want := int(f.Ports.To) - int(f.Ports.From) + 1
	if got := int(f.TargetPorts.To) - int(f.TargetPorts.From) + 1; got != want {
		return fmt.Errorf("%d ports to listen on can't lead to %d target ports", want, got)
	}
	return nil
}

func (f *Forward) parseOptions(s string) error {
	for option := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch {
		case f.Kind != ForwardMesh && (key == "proxy" || key == "allow"):
			return fmt.Errorf("option %s is for mesh forwards only: this host's programs have no node's address", key)
		case option == "proxy":
			if f.Protocol != firewall.ProtocolTCP {
				return errors.New("option proxy: the PROXY protocol is for TCP only")
			}
			if f.Proxy {
				return errors.New("option proxy is given twice")
			}
			f.Proxy = true
		case key == "allow":
			peer, err := parseAllowed(value)
			if err != nil {
				return fmt.Errorf("option allow: %w", err)
			}
			if slices.Contains(f.Allow, peer) {
				return fmt.Errorf("option allow: %s is given twice", peer)
			}
			if f.Allow = append(f.Allow, peer); len(f.Allow) > maxForwardAllow {
				return fmt.Errorf("option allow: more than %d peers", maxForwardAllow)
			}
		default:
			return fmt.Errorf("option %q is unknown: there are proxy and allow=PEER", clip(option))
		}
	}
	return nil
}

// String returns the text that [ParseForward] reads.
func (f Forward) String() string {
	var b strings.Builder
	switch {
	case f.Socket != "":
		b.WriteString(f.Socket)
	case f.Bind == netip.IPv6Unspecified():
		b.WriteString("*:" + f.Ports.String())
	case f.Bind.IsValid():
		b.WriteString(bracketed(f.Bind.String()) + ":" + f.Ports.String())
	default:
		b.WriteString(f.Ports.String())
	}
	if f.TargetSocket != "" {
		b.WriteString(":" + f.TargetSocket)
	} else {
		b.WriteString(":" + bracketed(f.Target) + ":" + f.TargetPorts.String())
	}
	if f.Protocol == firewall.ProtocolUDP {
		b.WriteString("/udp")
	}
	if f.Proxy {
		b.WriteString(",proxy")
	}
	for _, peer := range f.Allow {
		b.WriteString(",allow=" + peer)
	}
	return b.String()
}

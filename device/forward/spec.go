package forward

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
)

// Kind says on which side a forward listens.
type Kind int

// Kinds of forwards.
const (
	Local Kind = iota + 1 // listens on this host, leads into the mesh
	Mesh                  // listens on the mesh address, leads to this host
)

// Spec is one forward.
type Spec struct {
	Name         string // unique; what Status and logs call it
	Kind         Kind
	UDP          bool       // instead of TCP
	Bind         netip.Addr // Local: address to listen on. Zero: 127.0.0.1, and ::1 where there is IPv6
	Port         uint16     // the first to listen on
	Count        int        // how many ports; 0 stands for 1
	Socket       string     // Local: path of a unix socket, instead of Bind and Port
	Target       string     // name or IP address
	TargetPort   uint16     // the first
	TargetSocket string     // Mesh: path of a unix socket, instead of Target and TargetPort
	Proxy        bool       // Mesh, TCP: begin with a header of the PROXY protocol, version 2
	Allow        []string   // Mesh: names, addresses and prefixes of peers that may connect; empty: all
}

func (s *Spec) validate() error {
	count := max(s.Count, 1)
	switch {
	case s.Name == "":
		return errors.New("it has no name")
	case s.Kind != Local && s.Kind != Mesh:
		return fmt.Errorf("unknown kind %d", s.Kind)
	case s.Socket != "" && (s.Kind != Local || s.UDP || count > 1):
		return errors.New("a unix socket is listened on by one local TCP forward")
	case s.Bind.IsValid() && (s.Kind != Local || s.Socket != ""):
		return errors.New("an address to listen on is for ports of this host")
	case s.TargetSocket != "" && (s.Kind != Mesh || s.UDP || count > 1):
		return errors.New("a unix socket is the target of one TCP port of the mesh")
	case s.Socket == "" && s.Port == 0 || s.TargetSocket == "" && (s.TargetPort == 0 || s.Target == ""):
		return errors.New("port or target is missing")
	case int(s.Port)+count > 1<<16 || int(s.TargetPort)+count > 1<<16:
		return errors.New("the range of ports ends beyond 65535")
	case s.Proxy && (s.Kind != Mesh || s.UDP), len(s.Allow) > 0 && s.Kind != Mesh:
		return errors.New("the PROXY protocol and lists of peers are for connections from the mesh")
	}
	return nil
}

func (s *Spec) equal(other *Spec) bool {
	a, b := *s, *other
	a.Allow, b.Allow = nil, nil
	return reflect.DeepEqual(a, b) && slices.Equal(s.Allow, other.Allow)
}

// endpoint is one listener of a forward, and where its connections go.
type endpoint struct {
	network  string // to listen on: tcp, udp, unix, or with the family tcp4, udp4
	address  string // to listen on; of the mesh: empty
	port     uint16
	optional bool // may be missing if this host has no such address

	targetNetwork, target string
}

func (s *Spec) endpoints() []endpoint {
	network := "tcp"
	if s.UDP {
		network = "udp"
	}
	if s.Socket != "" {
		return []endpoint{{network: "unix", address: s.Socket, targetNetwork: network, target: s.targetAddress(0)}}
	}
	var all []endpoint
	for i := range max(s.Count, 1) {
		e := endpoint{network: network, port: s.Port + uint16(i), targetNetwork: network, target: s.targetAddress(i)}
		if s.TargetSocket != "" {
			e.targetNetwork, e.target = "unix", s.TargetSocket
		}
		port := strconv.Itoa(int(e.port))
		switch {
		case s.Kind == Mesh:
			all = append(all, e)
		case s.Bind.IsValid():
			if s.Bind.Is4() { // else 0.0.0.0 would stand for IPv6, too
				e.network += "4"
			}
			e.address = net.JoinHostPort(s.Bind.String(), port)
			all = append(all, e)
		default:
			e.address = net.JoinHostPort("127.0.0.1", port)
			all = append(all, e)
			e.address, e.optional = net.JoinHostPort("::1", port), true
			all = append(all, e)
		}
	}
	return all
}

func (s *Spec) targetAddress(i int) string {
	return net.JoinHostPort(s.Target, strconv.Itoa(int(s.TargetPort)+i))
}

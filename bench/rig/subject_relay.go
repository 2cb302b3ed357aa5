package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/server"
	"github.com/wirespan/wirespan/mesh"
)

// The relay of the rig.
const (
	relayName      = "bench"
	relayPort      = 3478
	relayedPort    = 49152
	relayBandwidth = 1 << 40 // bytes per second: the relay itself is measured
)

// relayKey makes and checks credentials. They protect nothing: nobody else is in the namespaces.
func relayKey() relay.Key { return relay.NewKey(relayName, mesh.Secret{}) }

// openRelayed runs wirespan's device on a TUN interface. The end that is called runs a relay in
// a process of its own beside it, and the other end knows no way but that.
func (a *agent) openRelayed(o *opening) (*opened, error) {
	if o.Tunnel.Peer.IsValid() {
		relayed := *o
		relayed.Tunnel.Relay = netip.AddrPortFrom(o.Tunnel.Peer.Addr(), relayPort)
		return a.openTUN(&relayed)
	}
	opened, err := a.openTUN(o)
	if err != nil {
		return nil, err
	}
	relay, err := a.openChild(roleRelay, o, relaySetup{o.Tunnel.Underlay, opened.Port})
	if err != nil {
		return nil, err
	}
	opened.PIDs = append(opened.PIDs, relay.PIDs...)
	return opened, nil
}

// relaySetup tells a relay's process where it is reached, and which port its host's WireGuard has.
type relaySetup struct {
	Address   netip.Addr
	WireGuard uint16
}

// serveRelay is the body of a relay's process. It relays until the agent ends.
func serveRelay(ctx context.Context, w *wire) error {
	var setup relaySetup
	if err := w.dec.Decode(&setup); err != nil {
		return fmt.Errorf("read the relay's configuration: %w", err)
	}
	defer prepareProcess().Close()
	s, err := newRelay(setup)
	if err != nil {
		return w.enc.Encode(response{Error: err.Error()})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := w.enc.Encode(response{Opened: &opened{}}); err != nil {
		return fmt.Errorf("report the relay: %w", err)
	}
	go func() {
		defer cancel()
		_ = w.dec.Decode(&setup) // the agent sends nothing more: it returns when the agent ends
	}()
	return s.Run(ctx)
}

func newRelay(setup relaySetup) (*server.Server, error) {
	listen := func(network string, port uint16) (server.Socket, error) {
		c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(setup.Address, port)))
		if err != nil {
			return nil, err
		}
		return burst.New(c), nil
	}
	socket, err := listen("udp4", relayPort)
	if err != nil {
		return nil, fmt.Errorf("listen for the relay's clients: %w", err)
	}
	return server.New(server.Config{
		Sockets: []server.Socket{socket}, Public4: setup.Address, Listen: listen, FirstPort: relayedPort, LastPort: relayedPort + 1,
		Keys:          func(string) []relay.Key { return []relay.Key{relayKey()} },
		Authorize:     func(user string) (server.Member, bool) { return server.Member{Name: user}, true },
		Own:           func(a netip.Addr) bool { return a == setup.Address },
		WireGuardPort: func() uint16 { return setup.WireGuard },
		Limits:        server.Limits{Bandwidth: relayBandwidth, AllocationBandwidth: relayBandwidth},
	})
}

// relayAccess returns how a device reaches the rig's relay.
func relayAccess() *relay.Access {
	return &relay.Access{
		Dial: relay.SystemDial(bind.Control(0)),
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return nil, errors.New("the rig's relay has no name")
		},
		Credentials: func(mesh.Relay, time.Time) relay.Credentials { return relayKey().Credentials(relayName, time.Now()) },
	}
}

// useRelay gets an address on a relay, and returns the peer's endpoint by it.
func useRelay(dev *device.Device, at, peer netip.AddrPort) (netip.AddrPort, error) {
	dev.SetRelays(mesh.RelayWish{
		Relays: []mesh.Relay{{Name: relayName, NodeID: relayName, Servers: []netip.AddrPort{at}}},
		Want:   1, Peers: []netip.AddrPort{peer},
	})
	permitted := func(st mesh.RelayStatus) bool { return st.Permitted }
	err := until(context.Background(), func() error {
		if list := dev.Relays(); !slices.ContainsFunc(list, permitted) {
			return fmt.Errorf("the relay gave no address: %+v", list)
		}
		return nil
	})
	return mesh.Via(peer, relayName), err
}

package node

import (
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/relay"
)

// relayAccess returns how this node reaches relays.
func (p *dataPlane) relayAccess(mark uint32) *relay.Access {
	a := &relay.Access{
		Dial: p.machine.Dial, Proxy: p.machine.Proxy, Resolve: p.resolver(mark), Credentials: p.secrets.credentials,
	}
	if a.Dial == nil {
		a.Dial = relay.SystemDial(bind.Control(mark))
	}
	return a
}

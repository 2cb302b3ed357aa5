package portmap

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

const (
	// askedLifetime is what RFC 6886 recommends. UPnP gateways accept less.
	askedLifetime = 2 * time.Hour
	upnpLifetime  = time.Hour
	// maxLifetime bounds what a gateway grants, and minRenewal how often it is asked.
	maxLifetime = 24 * time.Hour
	minRenewal  = 4 * time.Second
	// checkOften and checkSeldom are the times between two looks whether a gateway still has
	// the mappings: by a datagram, and by HTTP.
	checkOften  = time.Minute
	checkSeldom = 10 * time.Minute
	// stunPatience is how long STUN servers may take to say that there is no NAT.
	stunPatience = 5 * time.Second
	// retryFirst and retryLast bound the time after a request that failed while there are
	// mappings, and retryNone is that after a gateway that maps nothing.
	retryFirst = 5 * time.Second
	retryLast  = time.Minute
	retryNone  = 15 * time.Minute
	// forceGap is the least time between two looks that changes of the host cause.
	forceGap = 10 * time.Second
)

// grant is what a gateway has granted.
type grant struct {
	external netip.AddrPort
	lifetime time.Duration // 0: for ever
	kept     bool          // somebody else has made the mapping, which stays on release
}

// lease is a mapping.
type lease struct {
	port mesh.Port
	grant
	made time.Time
}

// renewAt returns when the mapping is to be renewed: after half of its lifetime.
func (l lease) renewAt() time.Time {
	if l.lifetime == 0 {
		return l.made.Add(maxLifetime / 2)
	}
	return l.made.Add(max(min(l.lifetime, maxLifetime)/2, minRenewal))
}

// expires returns when the gateway removes the mapping; zero: never.
func (l lease) expires() time.Time {
	if l.lifetime == 0 {
		return time.Time{}
	}
	return l.made.Add(min(l.lifetime, maxLifetime))
}

// expired reports whether the gateway has removed the mapping.
func (l lease) expired(now time.Time) bool {
	return l.lifetime != 0 && !now.Before(l.expires())
}

// refuse returns why the gateway is not to be asked; empty: it is. A reason holds for the time
// that again says, if that is not zero. Waited is how long STUN servers were waited for.
func refuse(w *mesh.PortWish, g mesh.Gateway, gatewayErr error, waited time.Duration) (reason string, again time.Duration) {
	switch {
	case w.Refused != "":
		return w.Refused, 0
	case len(w.Ports) == 0:
		return "there is no port to map", 0
	case len(wanted(w)) == 0:
		return w.Ports[0].Refused, 0
	case w.Translation == mesh.TranslationNone:
		return "there is no NAT: STUN servers see this host at its own address", 0
	case gatewayErr != nil:
		return gatewayErr.Error(), 0
	case !g.Address.Is4() || !g.Address.IsPrivate():
		return fmt.Sprintf("the gateway %v has no private IPv4 address, so it is not asked", g.Address), 0
	case w.Translation == mesh.TranslationUnknown && w.Pending && waited < stunPatience:
		return "waiting for STUN servers, which tell whether there is a NAT", stunPatience - waited
	case w.Translation == mesh.TranslationUnknown && public(g.Source):
		return fmt.Sprintf("there is no NAT: this host's own address %v is public", g.Source), 0
	}
	return "", 0
}

// public reports whether the internet can reach an IPv4 address: it is none of those that
// RFC 6890 reserves.
func public(a netip.Addr) bool {
	if !a.Is4() || !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	b := a.As4()
	switch {
	case b[0] == 0, b[0] >= 240,
		b[0] == 100 && b[1]&0xc0 == 64,                       // of carriers' NATs
		b[0] == 192 && b[1] == 0 && (b[2] == 0 || b[2] == 2), // protocols, documentation
		b[0] == 198 && b[1]&0xfe == 18,                       // benchmarks
		b[0] == 198 && b[1] == 51 && b[2] == 100,             // documentation
		b[0] == 203 && b[1] == 0 && b[2] == 113:
		return false
	}
	return true
}

// implausible returns why an external address is not announced; nil: it is.
func implausible(a netip.Addr) error {
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return errNoExternal
	case !public(a):
		return fmt.Errorf("the gateway's own address %v is not public: another NAT is in front of it, as of a carrier (CGNAT)", a)
	}
	return nil
}

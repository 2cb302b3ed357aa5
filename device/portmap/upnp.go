//go:build !edge

package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

const (
	searchTime  = 3 * time.Second
	requestTime = 5 * time.Second
	// otherPorts is how many ports after the suggested one are tried if that is taken.
	otherPorts = 4
	// description is what the gateway shows for our mappings.
	description = "wirespan"
)

// Error codes of UPnP.
const (
	upnpNoSuchEntry     = 714
	upnpConflict        = 718
	upnpOnlyPermanent   = 725
	upnpConflictsOthers = 729
)

var group = netip.MustParseAddrPort("239.255.255.250:1900")

// upnp asks by UPnP-IGD.
type upnp struct {
	link
	client   *http.Client
	service  upnpService
	external netip.Addr
}

// without is what the reports of this build add.
const without = ""

// newUPnP returns the protocol.
func newUPnP(l link) (protocol, bool) {
	u := &upnp{link: l}
	u.client = &http.Client{
		Timeout: requestTime,
		Transport: &http.Transport{
			DisableKeepAlives: true, MaxResponseHeaderBytes: 8 << 10,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				at, err := netip.ParseAddrPort(address)
				if err != nil || at.Addr() != l.gateway.Address {
					return nil, fmt.Errorf("%.100q is not at the gateway %v", address, l.gateway.Address)
				}
				return l.sockets.Dial(ctx, l.gateway, network, at.Port())
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return u, true
}

func (u *upnp) name() string { return "UPnP" }

func (u *upnp) checkInterval() time.Duration { return checkSeldom }

// probe finds the service of the gateway that has an external address.
func (u *upnp) probe(ctx context.Context) (netip.Addr, error) {
	at, err := u.search(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	services, err := u.describe(ctx, at)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, s := range services {
		u.service = s
		if u.external, err = u.address(ctx); err == nil && implausible(u.external) == nil {
			return u.external, nil
		}
	}
	return u.external, err
}

// search returns where the gateway's description is.
func (u *upnp) search(ctx context.Context) (at *url.URL, err error) {
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	err = errNoAnswer
	searched := u.sockets.Search(ctx, u.gateway, group, []byte(searchRequest), func(b []byte) bool {
		at, err = parseSearchAnswer(b, u.gateway.Address)
		return err == nil
	})
	if searched != nil {
		return nil, searched
	}
	return at, err
}

func (u *upnp) describe(ctx context.Context, at *url.URL) ([]upnpService, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := u.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its description: code %d", answer.StatusCode)
	}
	return parseDescription(answer.Body, at, u.gateway.Address)
}

// call calls an action of the service.
func (u *upnp) call(ctx context.Context, action string, arguments ...argument) (map[string]string, error) {
	body := envelope(u.service.kind, action, arguments)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.service.control.String(), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
	request.Header["SOAPAction"] = []string{`"` + u.service.kind + "#" + action + `"`} // some gateways know this spelling only
	answer, err := u.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusInternalServerError {
		return nil, fmt.Errorf("%s: code %d", action, answer.StatusCode)
	}
	return parseReply(answer.Body)
}

func (u *upnp) address(ctx context.Context) (netip.Addr, error) {
	reply, err := u.call(ctx, "GetExternalIPAddress")
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(reply["NewExternalIPAddress"])
	if err != nil {
		return netip.Addr{}, errNoExternal
	}
	return a.Unmap(), nil
}

// check reports whether the gateway lacks a mapping, or has another address.
func (u *upnp) check(ctx context.Context, leases []lease) (lost bool, err error) {
	a, err := u.address(ctx)
	if err != nil {
		return false, err
	}
	if a != u.external {
		u.external = a
		return true, nil
	}
	for _, l := range leases {
		owner, _, err := u.entry(ctx, l.port, l.external.Port())
		if err != nil {
			return false, err
		}
		if owner != u.own(l.port) {
			return true, nil
		}
	}
	return false, nil
}

// own is where our mappings lead.
func (u *upnp) own(p mesh.Port) netip.AddrPort {
	return netip.AddrPortFrom(u.gateway.Source, p.Number)
}

// entry returns where the mapping of an external port leads, and what it is called; zero:
// there is none.
func (u *upnp) entry(ctx context.Context, p mesh.Port, external uint16) (to netip.AddrPort, called string, err error) {
	reply, err := u.call(ctx, "GetSpecificPortMappingEntry", argument{"NewRemoteHost", ""},
		argument{"NewExternalPort", strconv.Itoa(int(external))}, argument{"NewProtocol", strings.ToUpper(p.Network())})
	if _, ok := errors.AsType[refusal](err); ok { // there is none, whatever the code
		return to, "", nil
	}
	if err != nil {
		return to, "", err
	}
	a, err := netip.ParseAddr(reply["NewInternalClient"])
	if err != nil {
		return to, "", fmt.Errorf("a mapping leads to %.50q: %w", reply["NewInternalClient"], err)
	}
	n, err := strconv.ParseUint(reply["NewInternalPort"], 10, 16)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), reply["NewPortMappingDescription"], err
}

// grant maps a port. Mappings of others stay as they are.
func (u *upnp) grant(ctx context.Context, want mesh.Port, suggested uint16) (g grant, err error) {
	for _, external := range candidatePorts(suggested, want.Number) {
		owner, called, err := u.entry(ctx, want, external)
		switch {
		case err != nil:
			return g, err
		case owner == u.own(want) && called != description:
			return grant{external: netip.AddrPortFrom(u.external, external), lifetime: upnpLifetime, kept: true}, nil
		case owner.IsValid() && owner != u.own(want):
			continue
		}
		lifetime := upnpLifetime
		err = u.add(ctx, want, external, lifetime)
		if r, ok := errors.AsType[refusal](err); ok && r.code == upnpOnlyPermanent {
			lifetime = 0
			err = u.add(ctx, want, external, lifetime)
		}
		r, refused := errors.AsType[refusal](err)
		if refused && (r.code == upnpConflict || r.code == upnpConflictsOthers) {
			continue
		}
		return grant{external: netip.AddrPortFrom(u.external, external), lifetime: lifetime}, err
	}
	return g, refusal{upnpConflict, fmt.Sprintf("port %d and those after it are mapped to other hosts", want.Number)}
}

// candidatePorts returns external ports to try, the one that was granted before first.
func candidatePorts(suggested, number uint16) (out []uint16) {
	if suggested != number && suggested != 0 {
		out = append(out, suggested)
	}
	for i := range uint16(otherPorts + 1) {
		if p := number + i; p >= number && p != suggested || i == 0 {
			out = append(out, p)
		}
	}
	return out
}

func (u *upnp) add(ctx context.Context, want mesh.Port, external uint16, lifetime time.Duration) error {
	_, err := u.call(ctx, "AddPortMapping", argument{"NewRemoteHost", ""},
		argument{"NewExternalPort", strconv.Itoa(int(external))}, argument{"NewProtocol", strings.ToUpper(want.Network())},
		argument{"NewInternalPort", strconv.Itoa(int(want.Number))}, argument{"NewInternalClient", u.gateway.Source.String()},
		argument{"NewEnabled", "1"}, argument{"NewPortMappingDescription", description},
		argument{"NewLeaseDuration", strconv.Itoa(int(lifetime / time.Second))})
	return err
}

func (u *upnp) release(ctx context.Context, l lease) error {
	_, err := u.call(ctx, "DeletePortMapping", argument{"NewRemoteHost", ""},
		argument{"NewExternalPort", strconv.Itoa(int(l.external.Port()))}, argument{"NewProtocol", strings.ToUpper(l.port.Network())})
	if r, ok := errors.AsType[refusal](err); ok && r.code == upnpNoSuchEntry {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing the mapping of %s port %d by UPnP: %w", l.port.Network(), l.port.Number, err)
	}
	return nil
}

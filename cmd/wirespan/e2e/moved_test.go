package e2e

import (
	"fmt"
	"net/netip"
	"slices"
)

// scenarioMoved checks a node whose address changes, as by DHCP: packets towards it go on
// after a moment, since it speaks first, and it connects to discovery anew at once.
func scenarioMoved(l *lab) {
	ha, hb := l.host("a"), l.host("b")
	for _, h := range []*labHost{ha, hb} {
		h.set("ipv6/conf/eth0/disable_ipv6", "1")
	}
	hb.set("ipv4/conf/eth0/promote_secondaries", "1") // else the first address takes the others with it
	a, b := ha.node(""), hb.node("")
	b.join(a.found())
	l.allUp(a, b)
	a.pings(b)

	from := hb.address
	for i, to := range []string{"10.90.0.77", "10.90.0.78", "10.90.0.79", "10.90.0.80"} {
		connected := b.mustStatus().Discovery[0].Since
		pings := a.keepsPinging(b)
		if i%2 == 0 {
			b.ip("address del " + from + "/24 dev eth0")
			b.ip("address add " + to + "/24 dev eth0")
			b.ip("route add default via 10.90.0.254")
		} else { // the new one is there first, and the default route stays
			b.ip("address add " + to + "/24 dev eth0")
			b.ip("address del " + from + "/24 dev eth0")
			b.ip("route replace default via 10.90.0.254")
		}
		from = to
		eventually(l.T, within, func() error {
			p, err := a.peer("b")
			if err == nil && p.Endpoint.Addr().String() != to {
				err = fmt.Errorf("a sends to %s", p.Endpoint)
			}
			return err
		})
		eventually(l.T, within, func() error {
			s, err := b.status()
			if err == nil && (!s.Discovery[0].Connected || !s.Discovery[0].Since.After(connected)) {
				err = fmt.Errorf("discovery: %+v", s.Discovery[0])
			}
			return err
		})
		eventually(l.T, within, func() error {
			found, err := resources[labAffiliate](a, "affiliates")
			if spec := found[b.mustStatus().Node.ID].KubeSpan; err == nil && (spec == nil || !slices.ContainsFunc(spec.Endpoints, func(e netip.AddrPort) bool { return e.Addr().String() == to })) {
				err = fmt.Errorf("a finds %+v", spec)
			}
			return err
		})
		a.pings(b)
		if sent, lost := pings.end(); lost > 100 { // of 50 a second
			l.Errorf("%d of %d pings towards a node with a new address were lost", lost, sent)
		}
	}
}

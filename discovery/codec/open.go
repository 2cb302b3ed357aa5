package codec

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// OpenRaw decrypts one affiliate and its endpoints. Endpoints are read only if the
// affiliate has a KubeSpan part; those that it has signed come before those beside it. An
// entry without data gives neither an affiliate nor a problem.
func OpenRaw(c Cluster, raw discovery.RawAffiliate, known discovery.Known) (o discovery.Opened) {
	if err := discovery.CheckID(raw.ID); err != nil {
		o.Problems = []discovery.Problem{{Reason: "ignored an affiliate: " + err.Error()}}
		return o
	}
	if len(raw.Data) == 0 {
		return o
	}
	problem := func(reason string) {
		o.Problems = append(o.Problems, discovery.Problem{AffiliateID: raw.ID, Reason: reason})
	}
	a, dropped, err := OpenAffiliate(c, raw.Data, known)
	if err != nil {
		o.Unreadable = errors.Is(err, ErrUnreadable)
		problem(err.Error())
		return o
	}
	if a.NodeID != raw.ID {
		problem(fmt.Sprintf("data belongs to node id %.64q", a.NodeID))
		return o
	}
	for _, d := range dropped {
		problem(d)
	}
	if !a.PublicKey.IsZero() {
		var clean cleaner
		if len(raw.Endpoints) > discovery.MaxEndpoints {
			problem(fmt.Sprintf("endpoints beyond the limit of %d ignored", discovery.MaxEndpoints))
		}
		a.Endpoints = openEndpoints(&clean, c.Secret, a.Endpoints, raw.Endpoints[:min(len(raw.Endpoints), discovery.MaxEndpoints)])
		for _, d := range clean.report() {
			problem(d)
		}
	}
	o.Affiliate = a
	return o
}

// openEndpoints appends endpoints to those that are signed.
func openEndpoints(c *cleaner, key mesh.Secret, out []netip.AddrPort, raw [][]byte) []netip.AddrPort {
	for _, b := range raw {
		ap, err := OpenEndpoint(key, b)
		if err != nil {
			c.drop("endpoint")
		} else if !slices.Contains(out, ap) {
			out = append(out, ap)
		}
	}
	return out
}

package netlink

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// DefaultQuery says what else than the rules decides where packets go.
type DefaultQuery struct {
	Mark       uint32   // of encrypted packets
	Ignore     int      // the tunnel's routing table
	Tables     []int    // more tables, as those of VRFs
	Interfaces []uint32 // by which packets may be sent
}

// DefaultRoutes are the ways out of this host of one family.
type DefaultRoutes struct {
	Hops []NextHop // each once
	// All says that packets without mark and source find a route whatever their
	// destination is.
	All bool
}

// probes are addresses in different parts of the internet: where packets to them go,
// there goes what has no route of its own. A route longer than probeBits is a route
// of theirs.
var probes = map[byte][]netip.Addr{
	unix.AF_INET: {
		netip.AddrFrom4([4]byte{17, 0, 0, 1}), netip.AddrFrom4([4]byte{193, 0, 14, 129}), netip.AddrFrom4([4]byte{202, 12, 27, 33}),
	},
	unix.AF_INET6: {
		netip.MustParseAddr("2001:7fd::1"), netip.MustParseAddr("2001:dc3::35"), netip.MustParseAddr("2620:0:2d0:200::8"),
	},
}

const (
	probeBits4, probeBits6 = 24, 48
	broadBits              = 8 // below: as good as a default route
	// Bounds of what is read, whatever others configure.
	maxPeeked     = 2048 // routes of a table
	maxMarks      = 16
	maxSources    = 64
	maxTables     = 64
	maxInterfaces = 256
)

// DefaultRoutes returns the default routes that packets of this host can take: those
// of all tables that rules lead to, and where look-ups of public addresses lead. Its
// cost does not depend on the sizes of tables. Of an IPv6 table with more than
// maxPeeked routes it sees those that look-ups find: one an interface, or one if a rule
// leads to it by the source.
func (r *RTNetlink) DefaultRoutes(family byte, q DefaultQuery) (DefaultRoutes, error) {
	tables, marks, sources, err := r.ruled(family, q)
	if err != nil {
		return DefaultRoutes{}, err
	}
	var out DefaultRoutes
	whole := true
	for _, table := range tables {
		complete, err := r.peekDefaults(family, table, &out)
		if err != nil {
			return DefaultRoutes{}, fmt.Errorf("list the default routes of table %d: %w", table, err)
		}
		whole = whole && complete
	}
	interfaces := []uint32{0}
	if !whole {
		interfaces = append(interfaces, q.Interfaces[:min(len(q.Interfaces), maxInterfaces)]...)
	}
	for _, mark := range marks {
		for _, index := range interfaces {
			r.probe(family, q.Ignore, RouteQuery{Mark: mark, Out: index}, &out)
		}
	}
	if !whole {
		for _, source := range sources {
			r.probe(family, q.Ignore, RouteQuery{Source: source}, &out)
			r.probe(family, q.Ignore, RouteQuery{Source: source, Mark: q.Mark}, &out)
		}
	}
	return out, nil
}

// HasDefault reports whether packets without mark and source find a route whatever
// their destination is, apart from those of the table ignore.
func (r *RTNetlink) HasDefault(family byte, ignore int) bool {
	var out DefaultRoutes
	r.probe(family, ignore, RouteQuery{}, &out)
	return out.All
}

// ruled returns the tables in which rules can find a default route, and the marks and
// sources by which they choose.
func (r *RTNetlink) ruled(family byte, q DefaultQuery) (tables []int, marks []uint32, sources []netip.Addr, err error) {
	rules, err := r.Rules(family)
	if NoRules(err) {
		rules, err = []Rule{{IPv6: family == unix.AF_INET6, Table: unix.RT_TABLE_MAIN}}, nil
	}
	marks = []uint32{0, q.Mark}
	for _, rule := range rules {
		if rule.IPv6 != (family == unix.AF_INET6) || rule.SuppressDefault || rule.Table == q.Ignore {
			continue
		}
		if !slices.Contains(tables, rule.Table) && rule.Table != unix.RT_TABLE_UNSPEC && rule.Table != unix.RT_TABLE_LOCAL && len(tables) < maxTables {
			tables = append(tables, rule.Table)
		}
		if !slices.Contains(marks, rule.Mark) && len(marks) < maxMarks {
			marks = append(marks, rule.Mark)
		}
		if rule.From.IsValid() && len(sources) < maxSources {
			sources = append(sources, anyOf(rule.From))
		}
	}
	for _, table := range q.Tables {
		if !slices.Contains(tables, table) && len(tables) < maxTables {
			tables = append(tables, table)
		}
	}
	return tables, marks, sources, err
}

// anyOf returns an address of a prefix: the second one, where there is one.
func anyOf(p netip.Prefix) netip.Addr {
	if next := p.Masked().Addr().Next(); p.Contains(next) {
		return next
	}
	return p.Addr()
}

// peekDefaults adds the default routes of a table, and reports whether it saw all.
// The kernel lists IPv4 routes in ascending order of addresses, IPv6 ones from the
// longest to the shortest.
func (r *RTNetlink) peekDefaults(family byte, table int, out *DefaultRoutes) (complete bool, err error) {
	f := RouteFields{Family: family, Table: table}
	complete = true
	seen := 0
	err = r.peek(unix.RTM_GETROUTE, f.encode, func(m Message) (more bool) {
		one, ok := f.parse(m)
		if !ok {
			return true
		}
		if one.Destination.Bits() == 0 && one.Type == unix.RTN_UNICAST {
			out.add(NextHops(m)...)
		}
		if seen++; seen >= maxPeeked {
			complete = false
			return false
		}
		return family != unix.AF_INET || one.Destination.Addr().IsUnspecified()
	})
	if errors.Is(err, unix.ENOENT) { // the table does not exist
		return true, nil
	}
	return complete, err
}

// probe looks the probes up, and adds what it finds. A look-up that fails finds none.
func (r *RTNetlink) probe(family byte, ignore int, q RouteQuery, out *DefaultRoutes) {
	longest := probeBits4
	if family == unix.AF_INET6 {
		longest = probeBits6
	}
	all := true
	for _, q.Destination = range probes[family] {
		q.Entry = true
		got, err := r.LookupRoute(q)
		if err != nil || got.Table == ignore || got.Type != unix.RTN_UNICAST {
			all = false
			continue
		}
		all = all && got.Destination.Bits() < broadBits
		if got.Destination.Bits() <= longest {
			// IPv6 may answer with another interface than the one that was asked for.
			for _, h := range got.Hops {
				if q.Out == 0 || h.Interface == q.Out {
					out.add(h)
				}
			}
		}
	}
	if q.Mark == 0 && q.Out == 0 && !q.Source.IsValid() {
		out.All = all
	}
}

func (d *DefaultRoutes) add(hops ...NextHop) {
	for _, h := range hops {
		if !slices.Contains(d.Hops, h) {
			d.Hops = append(d.Hops, h)
		}
	}
}

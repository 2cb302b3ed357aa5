package host

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace moves the test's thread to a new network namespace with two uplinks. The
// thread ends with its goroutine.
func namespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace takes root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal("new network namespace:", err)
	}
	script(t, `link set lo up
		link add up0 type veth peer far0
		link add up1 type veth peer far1
		link add wirespan0 type veth peer far2`)
	for i, link := range []string{"up0", "up1", "wirespan0", "far0", "far1", "far2"} {
		script(t, "link set "+link+" addrgenmode none up")
		if i < 2 {
			script(t, fmt.Sprintf("addr add 192.0.%d.1/24 dev %s", i, link), fmt.Sprintf("addr add fd0%d::1/64 dev %s nodad", i, link))
		}
	}
}

// script runs commands of ip(8), one a line, those that begin with -6 last.
func script(t *testing.T, lines ...string) {
	t.Helper()
	var v4, v6 strings.Builder
	for line := range strings.Lines(strings.Join(lines, "\n") + "\n") {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "-6 "); ok {
			fmt.Fprintln(&v6, rest)
		} else {
			fmt.Fprintln(&v4, line)
		}
	}
	for batch, options := range map[string][]string{v4.String(): nil, v6.String(): {"-6"}} {
		cmd := exec.Command("ip", append(options, "-batch", "-")...)
		cmd.Stdin = strings.NewReader(batch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ip: %v\n%s", err, out)
		}
	}
}

// Default routes are where the kernel finds them.
func TestDefaultRoutes(t *testing.T) {
	for name, test := range map[string]struct {
		script   string
		links    string
		gateways string
		all      string // families in which every packet finds a route
	}{
		"none": {"", "", "", ""},
		"main": {"route add default via 192.0.0.254", "up0", "192.0.0.254", "4"},
		"a second one with another metric": {`route add default via 192.0.0.254
			route add default via 192.0.1.254 metric 500
			route add default via 192.0.0.253 metric 600
			-6 route add default via fd01::fe metric 7`, "up0 up1", "192.0.0.253 192.0.0.254 192.0.1.254 fd01::fe", "46"},
		"another table by priority": {`route add default via 192.0.0.254 table 201
			rule add priority 32000 lookup 201
			-6 route add default via fd00::fe table 70000
			-6 rule add priority 32000 lookup 70000`, "up0", "192.0.0.254 fd00::fe", "46"},
		"tables by source": {`route add default via 192.0.0.254 table 201
			route add default via 192.0.1.254 table 202
			rule add from 192.0.0.1 lookup 201
			rule add from 192.0.1.1 lookup 202`, "up0 up1", "192.0.0.254 192.0.1.254", ""},
		"a table by mark": {`route add default via 192.0.0.254
			route add default via 192.0.1.254 table 202
			rule add fwmark 0x100/0x100 lookup 202`, "up0 up1", "192.0.0.254 192.0.1.254", "4"},
		"encrypted packets take a table of their own": {`route add default via 192.0.1.254 table 202
			rule add fwmark 0x20/0x60 lookup 202`, "up1", "192.0.1.254", ""},
		"table default":                 {"route add default via 192.0.1.254 table default", "up1", "192.0.1.254", "4"},
		"a table that no rule leads to": {"route add default via 192.0.1.254 table 202", "", "", ""},
		"main without its default routes": {`route add default via 192.0.0.254
			route add default via 192.0.1.254 table 202
			rule add priority 100 lookup main suppress_prefixlength 0
			rule add priority 101 lookup 202
			rule del priority 32766`, "up1", "192.0.1.254", "4"},
		"two halves": {
			"route add 0.0.0.0/1 via 192.0.1.254\nroute add 128.0.0.0/1 via 192.0.1.254\n-6 route add 2000::/3 via fd01::fe",
			"up1", "192.0.1.254 fd01::fe", "46",
		},
		"a route to one public network": {"route add 17.0.0.0/25 via 192.0.1.254", "", "", ""},
		"several next hops": {
			"route add default nexthop via 192.0.0.254 nexthop via 192.0.1.254\n-6 route add default nexthop via fd00::fe nexthop via fd01::fe",
			"up0 up1", "192.0.0.254 192.0.1.254 fd00::fe fd01::fe", "46",
		},
		"next hop objects": {`nexthop add id 7 via 192.0.0.254 dev up0
			nexthop add id 8 via 192.0.1.254 dev up1
			nexthop add id 9 group 7/8
			route add default nhid 9`, "up0 up1", "192.0.0.254 192.0.1.254", "4"},
		"a gateway of the other family": {"route add 0.0.0.0/0 via inet6 fd00::fe dev up0", "up0", "fd00::fe", "4"},
		"no gateway":                    {"route add default dev up0", "up0", "", "4"},
		"unreachable":                   {"route add unreachable default\n-6 route add unreachable default metric 9", "", "", ""},
		"the tunnel's own": {`route add default dev wirespan0 table 180
			route add 17.0.0.0/8 dev wirespan0 table 180
			-6 route add default dev wirespan0 table 180
			rule add fwmark 0x40/0x60 lookup 180
			rule add priority 32768 fwmark 0/0x60 lookup 180 suppress_prefixlength 0
			-6 rule add fwmark 0x40/0x60 lookup 180`, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			namespace(t)
			script(t, test.script)
			expectDefaults(t, test.links, test.gateways, test.all)
		})
	}
}

func expectDefaults(t *testing.T, links, gateways, all string) {
	t.Helper()
	h := New(Config{EncryptedMark: 0x20, RoutingTable: 180})
	list, err := h.Links()
	if err != nil {
		t.Fatal(err)
	}
	var uplinks []string
	for _, l := range list {
		if l.DefaultRoute {
			uplinks = append(uplinks, l.Name)
		}
	}
	if got := strings.Join(uplinks, " "); got != links {
		t.Errorf("default routes leave by %q, want %q", got, links)
	}
	u, err := h.Underlay()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(u.Gateways, netip.Addr.Compare)
	if got := strings.Trim(fmt.Sprint(u.Gateways), "[]"); got != gateways {
		t.Errorf("gateways %q, want %q", got, gateways)
	}
	families := ""
	if u.Default4 {
		families += "4"
	}
	if u.Default6 {
		families += "6"
	}
	if families != all {
		t.Errorf("families with a default route: %q, want %q", families, all)
	}
}

// Default routes are found among any number of others, at the same cost.
func TestDefaultRoutesOfFullTables(t *testing.T) {
	namespace(t)
	script(t, `route add default via 192.0.0.254
		route add default via 192.0.1.254 metric 500
		-6 route add default via fd00::fe
		-6 route add default via fd01::fe metric 500`)
	const links, gateways, all = "up0 up1", "192.0.0.254 192.0.1.254 fd00::fe fd01::fe", "46"
	expectDefaults(t, links, gateways, all)
	h := New(Config{})
	look := func() {
		if _, err := h.Underlay(); err != nil {
			t.Error(err)
		}
	}
	var cost []float64
	for _, n := range []int{3000, 9000} {
		var routes []string
		for i := range n {
			routes = append(routes, fmt.Sprintf("route replace 20.%d.%d.0/24 via 192.0.0.254", i/256, i%256), fmt.Sprintf("-6 route replace 2a00:%x::/32 via fd00::fe", i))
		}
		script(t, routes...)
		expectDefaults(t, links, gateways, all)
		cost = append(cost, testing.AllocsPerRun(5, look))
	}
	if cost[1] > cost[0]+50 {
		t.Errorf("a look takes %v allocations with three times the routes, instead of %v", cost[1], cost[0])
	}
}

// So they are in large IPv6 tables that rules lead to, by source, mark or without either.
func TestDefaultRoutesOfFullPolicyTables(t *testing.T) {
	namespace(t)
	script(t, `-6 route add default via fd00::fd metric 2000
		-6 route add default via fd00::fe table 201
		-6 rule add from fd00::1 lookup 201
		-6 route add default via fd01::fe table 202
		-6 rule add from fd01::/64 lookup 202
		-6 route add default via fd01::fd table 203
		-6 rule add fwmark 0x20/0x60 lookup 203
		-6 route add default via fd01::fc table 204
		-6 rule add priority 32765 fwmark 0x100/0x100 lookup 204`)
	const links, gateways = "up0 up1", "fd00::fd fd00::fe fd01::fc fd01::fd fd01::fe"
	expectDefaults(t, links, gateways, "6")
	var routes []string
	for i := range 5000 {
		for table := 201; table < 205; table++ {
			routes = append(routes, fmt.Sprintf("-6 route replace 2a00:%x::/32 via fd00::fe table %d", i, table))
		}
	}
	script(t, routes...)
	expectDefaults(t, links, gateways, "6")
}

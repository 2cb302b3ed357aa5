package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// tries returns an attempt with handshakes that were started so many seconds ago.
func tries(endpoint string, secondsAgo ...int) Attempt {
	a := Attempt{Endpoint: netip.MustParseAddrPort(endpoint)}
	slices.SortFunc(secondsAgo, func(a, b int) int { return b - a })
	for i, s := range secondsAgo {
		a.Handshakes[AttemptsKept-len(secondsAgo)+i] = testNow.Add(-time.Duration(s) * time.Second)
	}
	return a
}

// refuses returns an attempt that the host refused.
func refuses(endpoint string, r Refusal, text string) Attempt {
	return Attempt{Endpoint: netip.MustParseAddrPort(endpoint), Refusal: r, Error: text}
}

// shook is a peer's state in the device: its endpoint, and when its last handshake was.
func shook(name, endpoint string, ago time.Duration) PeerStats {
	return PeerStats{PublicKey: testKey(name), Endpoint: netip.MustParseAddrPort(endpoint), LastHandshakeTime: testNow.Add(-ago)}
}

func TestUnanswered(t *testing.T) {
	const (
		a1, a2, b1 = "192.0.2.1:51820", "[2001:db8::1]:51820", "192.0.2.2:51820"
		denied     = "operation not permitted"
		noRoute    = "network is unreachable"
	)
	for name, tc := range map[string]struct {
		peers    string // with their endpoints: "a=E,E b=E"
		attempts []Attempt
		stats    []PeerStats
		want     []string // a condition each: type, subject, and words of its message, by "|"
		wake     time.Duration
	}{
		"nothing sent":               {peers: "a=" + a1},
		"too few":                    {peers: "a=" + a1, attempts: []Attempt{tries(a1, 40, 20)}},
		"too soon":                   {peers: "a=" + a1, attempts: []Attempt{tries(a1, 14, 9, 4)}, wake: time.Second},
		"no peer's address":          {peers: "a=" + a1, attempts: []Attempt{tries(b1, 20, 10, 5)}},
		"one peer":                   {peers: "a=" + a1, attempts: []Attempt{tries(a1, 15, 10, 5)}, want: []string{"NoAnswer|a|handshakes with a go out|from " + a1 + ": UDP is blocked"}},
		"over two endpoints":         {peers: "a=" + a1 + "," + a2, attempts: []Attempt{tries(a1, 20, 15), tries(a2, 5)}, want: []string{"NoAnswer|a|from " + a2 + " and " + a1}},
		"it answered":                {peers: "a=" + a1, attempts: []Attempt{tries(a1, 40, 35, 30, 25)}, stats: []PeerStats{shook("a", a1, 24*time.Second)}},
		"it renews its session":      {peers: "a=" + a1, attempts: []Attempt{tries(a1, 360, 240, 120, 0)}, stats: []PeerStats{shook("a", a1, 119*time.Second)}, wake: answerTime},
		"it answers no more":         {peers: "a=" + a1, attempts: []Attempt{tries(a1, 120, 16, 10, 5)}, stats: []PeerStats{shook("a", a1, 119*time.Second)}, want: []string{"NoAnswer|a|from " + a1}},
		"one of two":                 {peers: "a=" + a1 + " b=" + b1, attempts: []Attempt{tries(a1, 20, 15, 10, 5)}, stats: []PeerStats{shook("b", b1, time.Second)}, want: []string{"NoAnswer|a|from " + a1}},
		"both":                       {peers: "a=" + a1 + " b=" + b1, attempts: []Attempt{tries(a1, 20, 15, 10, 5), tries(b1, 20, 10, 5)}, want: []string{"NoAnswer|all peers|none of 2 peers|a at " + a1 + "|b at " + b1 + "|UDP port 51820"}},
		"two, and one with a call":   {peers: "a=" + a1 + " b=" + b1 + " c=", attempts: []Attempt{tries(a1, 20, 15, 10, 5), tries(b1, 20, 10, 5)}, stats: []PeerStats{shook("c", "192.0.2.9:1", time.Second)}, want: []string{"NoAnswer|a|from " + a1, "NoAnswer|b|from " + b1}},
		"the same address, up":       {peers: "a=" + a1 + " b=" + a1, attempts: []Attempt{tries(a1, 20, 15, 10, 5)}, stats: []PeerStats{shook("a", a1, time.Minute)}},
		"this node's address":        {peers: "a=172.20.2.1:51820", attempts: []Attempt{tries("172.20.2.1:51820", 20, 15, 10, 5)}},
		"a firewall, and no session": {peers: "a=" + a1, attempts: []Attempt{refuses(a1, RefusedByFirewall, denied)}, want: []string{"SendRefused|" + denied + "|a at " + a1 + "|accept UDP from port 51820"}},
		"a firewall, and a session":  {peers: "a=" + a1, attempts: []Attempt{refuses(a1, RefusedByFirewall, denied)}, stats: []PeerStats{shook("a", a1, time.Second)}, want: []string{"SendRefused|" + denied + "|a at " + a1}},
		"a firewall, elsewhere":      {peers: "a=" + a1 + "," + a2, attempts: []Attempt{refuses(a2, RefusedByFirewall, denied)}, stats: []PeerStats{shook("a", a1, time.Second)}},
		"a firewall, two peers":      {peers: "a=" + a1 + " b=" + b1, attempts: []Attempt{refuses(a1, RefusedByFirewall, denied), refuses(b1, RefusedByFirewall, denied)}, want: []string{"SendRefused|" + denied + "|a at " + a1 + ", b at " + b1}},
		"a blackhole":                {peers: "a=" + a1, attempts: []Attempt{refuses(a1, RefusedByRoute, "invalid argument")}, want: []string{"SendRefused|invalid argument|blackhole route"}},
		"no IPv6 here, it is up":     {peers: "a=" + a1 + "," + a2, attempts: []Attempt{refuses(a2, RefusedWithoutRoute, noRoute)}, stats: []PeerStats{shook("a", a1, time.Second)}},
		"no IPv6 here, it is silent": {peers: "a=" + a1 + "," + a2, attempts: []Attempt{tries(a1, 20, 15, 10), refuses(a2, RefusedWithoutRoute, noRoute)}, want: []string{"NoAnswer|a|" + a1 + " and " + a2 + " (" + noRoute + ")"}},
		"no route at all":            {peers: "a=" + a1 + "," + a2, attempts: []Attempt{refuses(a1, RefusedWithoutRoute, noRoute), refuses(a2, RefusedWithoutRoute, noRoute)}, want: []string{"SendRefused|" + noRoute + "|a at " + a1 + " and " + a2 + "|add one"}},
		"the route is gone, session": {peers: "a=" + a1 + "," + a2, attempts: []Attempt{refuses(a1, RefusedWithoutRoute, noRoute)}, stats: []PeerStats{shook("a", a1, time.Second)}, want: []string{"SendRefused|" + noRoute + "|a at " + a1}},
	} {
		t.Run(name, func(t *testing.T) {
			in := testInput()
			in.Attempts, in.Stats = tc.attempts, tc.stats
			for _, s := range tc.stats { // they have had their endpoint for long
				in.Previous = append(in.Previous, PeerStatus{PublicKey: s.PublicKey, LastUsedEndpoint: s.Endpoint, LastEndpointChange: testNow.Add(-time.Hour)})
			}
			for i, p := range strings.Fields(tc.peers) {
				node, endpoints, _ := strings.Cut(p, "=")
				a := testPeer(node, fmt.Sprint(i+2))
				for _, ep := range strings.FieldsFunc(endpoints, func(r rune) bool { return r == ',' }) {
					a.Endpoints = append(a.Endpoints, netip.MustParseAddrPort(ep))
				}
				in.Affiliates = append(in.Affiliates, a)
			}
			wantUnanswered(t, Decide(in, testNow), tc.want)
			var cs conditions
			plan := Decide(in, testNow)
			known := newRoster(&in, &plan.Local, testNow)
			known.admit(&in, others(&in), testNow, &cs)
			var wake time.Duration
			if at := reportUnanswered(&in, known, plan.Specs, plan.Statuses, testNow, &cs); !at.IsZero() {
				wake = at.Sub(testNow)
			}
			if wake != tc.wake {
				t.Errorf("another look in %v, want %v", wake, tc.wake)
			}
		})
	}
}

// wantUnanswered checks the conditions of a plan about what is not sent or not answered.
func wantUnanswered(t *testing.T, plan Plan, want []string) {
	t.Helper()
	var got []Condition
	for _, c := range plan.Conditions {
		if c.Type == ConditionNoAnswer || c.Type == ConditionSendRefused {
			got = append(got, c)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("conditions %+v, want %d", got, len(want))
	}
	for i, c := range got {
		text := string(c.Type) + "|" + c.Subject + "|" + c.Message
		words := strings.Split(want[i], "|")
		if !strings.HasPrefix(text, words[0]+"|"+words[1]+"|") || slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			t.Errorf("condition %s, want %s", text, want[i])
		}
	}
}

// A peer that discovery does not have any more is gone: nobody need know that it does not
// answer. As long as it has a session it stays a peer, and what the host refuses is shown.
func TestUnansweredPeerIsGone(t *testing.T) {
	in := testInput()
	a := testPeer("a", "2")
	a.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820")}
	in.Affiliates = []Affiliate{a}
	in.Stats = []PeerStats{shook("a", "192.0.2.1:51820", time.Minute)}
	before := Decide(in, testNow)
	in.Affiliates, in.Previous, in.Known, in.Pins = nil, before.Statuses, before.Known, before.Pins
	in.Attempts = []Attempt{tries("192.0.2.1:51820", 20, 15, 10, 5)}
	after := Decide(in, testNow)
	if len(after.Specs) != 1 {
		t.Fatalf("%d peers, want the one with a session", len(after.Specs))
	}
	wantUnanswered(t, after, nil)
	in.Attempts[0].Refusal, in.Attempts[0].Error = RefusedByFirewall, "operation not permitted"
	wantUnanswered(t, Decide(in, testNow), []string{"SendRefused|operation not permitted|a at 192.0.2.1:51820"})
}

// Of two nodes without an endpoint none can connect to the other. One that has one, or has
// been connected to, is no problem.
func TestNoEndpoint(t *testing.T) {
	for name, tc := range map[string]struct {
		links     []Link
		endpoints []netip.AddrPort
		stats     []PeerStats
		want      bool
	}{
		"neither":      {want: true},
		"only veth":    {links: []Link{{Name: "veth1", Kind: "veth", Up: true, Addresses: prefixes("10.9.0.1/24")}}, want: true},
		"this node":    {links: testInput().Host.Links},
		"the peer":     {endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820")}},
		"a connection": {stats: []PeerStats{shook("a", "192.0.2.1:51820", time.Second)}},
	} {
		in := testInput()
		a := testPeer("a", "2")
		a.Endpoints, in.Host.Links, in.Stats = tc.endpoints, tc.links, tc.stats
		in.Affiliates = []Affiliate{a}
		got := slices.ContainsFunc(Decide(in, testNow).Conditions, func(c Condition) bool {
			return c.Type == ConditionNoEndpoint && strings.Contains(c.Message, "nor a announces")
		})
		if got != tc.want {
			t.Errorf("%s: condition %v, want %v", name, got, tc.want)
		}
	}
}

// What others write is quoted and bounded, in each text and in the number of conditions.
func TestUnansweredIsBounded(t *testing.T) {
	in := testInput()
	refusing := testInput()
	for i := range 100 {
		a := testPeer(fmt.Sprintf("%03d %s\n", i, strings.Repeat("é", 200)), fmt.Sprint(i+2))
		for j := range 20 {
			ep := fmt.Sprintf("192.0.2.%d:%d", i, 1000+j)
			a.Endpoints = append(a.Endpoints, netip.MustParseAddrPort(ep))
			in.Attempts = append(in.Attempts, tries(ep, 20, 15, 10, 5))
			refusing.Attempts = append(refusing.Attempts, refuses(ep, RefusedByFirewall, "operation not permitted"))
		}
		in.Affiliates = append(in.Affiliates, a)
	}
	refusing.Affiliates = in.Affiliates
	up := testPeer("up", "fff")
	some := in
	some.Affiliates, some.Stats = append(slices.Clone(in.Affiliates), up), []PeerStats{shook("up", "192.0.2.200:1", time.Second)}
	for name, tc := range map[string]struct {
		in    Input
		count int
	}{"none answers": {in, 1}, "one answers": {some, maxUnansweredPeers + 1}, "refused": {refusing, 1}} {
		var got []Condition
		for _, c := range Decide(tc.in, testNow).Conditions {
			if c.Type == ConditionNoAnswer || c.Type == ConditionSendRefused {
				got = append(got, c)
			}
		}
		if len(got) != tc.count {
			t.Errorf("%s: %d conditions, want %d", name, len(got), tc.count)
		}
		for _, c := range got {
			if len(c.Subject) > 200 || len(c.Message) > 4000 || strings.Contains(c.Message, "\n") {
				t.Errorf("%s: subject of %d and message of %d bytes: %s", name, len(c.Subject), len(c.Message), c.Message)
			}
		}
	}
}

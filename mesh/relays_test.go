package mesh

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestViaKeepsBothApart(t *testing.T) {
	for _, s := range []string{"203.0.113.5:51820", "[2001:db8::5]:51820"} {
		ep := netip.MustParseAddrPort(s)
		via := Via(ep, "box1")
		if via == ep || Plain(via) != via {
			t.Errorf("%v by a relay is %v", ep, via)
		}
		if at, relay := Direct(via); at != ep || relay != "box1" {
			t.Errorf("%v leads to %v by %q", via, at, relay)
		}
		if back, err := netip.ParseAddrPort(via.String()); err != nil || back != via {
			t.Errorf("%v is read as %v, %v", via, back, err)
		}
		if at, relay := Direct(ep); at != ep || relay != "" {
			t.Errorf("%v leads to %v by %q", ep, at, relay)
		}
		if text := EndpointText(via); text != s+" via box1" {
			t.Error(text)
		}
	}
	if via := Via(netip.MustParseAddrPort("192.0.2.1:1"), "turn:turn.example.com:3478"); EndpointText(via) != "192.0.2.1:1 via turn:turn.example.com:3478" {
		t.Error(via)
	}
	if zoned := netip.MustParseAddrPort("[fe80::1%eth0]:1"); EndpointText(zoned) != zoned.String() {
		t.Error("a link is no relay")
	}
}

// relayInput has a peer p that was tried for so long, and members that offer relays.
func relayInput(tried time.Duration) Input {
	in := testInput()
	in.Config.Cycle, in.Config.UseRelays = false, true
	p := testPeer("p", "11")
	p.Endpoints = endpoints("203.0.113.1:1", "10.0.0.1:1", "203.0.113.2:2")
	relay := testPeer("r", "12")
	relay.Endpoints, relay.Record.Relay = endpoints("198.51.100.1:51820", "10.0.0.2:51820"), 443
	in.Affiliates = []Affiliate{p, relay}
	in.Stats = []PeerStats{
		{PublicKey: p.PublicKey, Path: &PeerPath{Troubled: testNow.Add(-tried)}},
		{PublicKey: relay.PublicKey, Path: &PeerPath{Settled: true}, Endpoint: relay.Endpoints[0], LastHandshakeTime: testNow},
	}
	return in
}

func TestRelayIsWanted(t *testing.T) {
	open := func(in *Input) { in.Host.Mapping = BehaviourEndpointIndependent }
	for name, tt := range map[string]struct {
		tried  time.Duration
		change func(*Input)
		want   bool
	}{
		"tried for 2 s":                  {2 * time.Second, nil, false},
		"tried for 3 s":                  {3 * time.Second, nil, true},
		"symmetric NAT":                  {3 * time.Second, func(in *Input) { in.Host.Mapping = BehaviourEndpointDependent }, true},
		"good NAT, tried for 9 s":        {9 * time.Second, open, false},
		"good NAT, never reached":        {10 * time.Second, func(in *Input) { open(in); in.Self.PublicKey = Key{}; in.Self.PublicKey[31] = 1 }, true},
		"good NAT, the other one begins": {19 * time.Second, func(in *Input) { open(in); in.Self.PublicKey = Key{0xcf} }, false},
		"good NAT, the other one did not, as one without relays": {20 * time.Second, func(in *Input) { open(in); in.Self.PublicKey = Key{0xcf} }, true},
		"good NAT, was there":          {time.Hour, func(in *Input) { open(in); in.Stats[0].LastHandshakeTime = testNow.Add(-2 * time.Hour) }, false},
		"relays itself, tried for 9 s": {9 * time.Second, func(in *Input) { in.Host.RelayPort = 443 }, false},
		"relay: never":                 {time.Minute, func(in *Input) { in.Config.UseRelays = false }, false},
		"endpointStrategy: cycle":      {time.Minute, func(in *Input) { in.Config.Cycle = true }, false},
		"works":                        {0, func(in *Input) { in.Stats[0].Path = &PeerPath{Settled: true} }, false},
		"works by a relay": {0, func(in *Input) {
			in.Stats[0].Path = &PeerPath{Settled: true}
			in.Stats[0].Endpoint = Via(in.Affiliates[0].Endpoints[0], "r")
		}, true},
		"worked by a relay 59 s ago": {0, func(in *Input) {
			in.Stats[0].Path = &PeerPath{Settled: true}
			in.RelayNeed.Last = testNow.Add(-59 * time.Second)
		}, true},
		"worked by a relay one minute ago": {0, func(in *Input) {
			in.Stats[0].Path = &PeerPath{Settled: true}
			in.RelayNeed.Last = testNow.Add(-time.Minute)
		}, false},
	} {
		in := relayInput(tt.tried)
		if tt.change != nil {
			tt.change(&in)
		}
		plan := Decide(in, testNow)
		if got := plan.Relays.Want > 0; got != tt.want || got == plan.RelayNeed.Last.IsZero() {
			t.Errorf("%s: wish %+v, need %v", name, plan.Relays, plan.RelayNeed)
		}
	}
}

// The loop is to look again when the patience with a peer ends.
func TestRelayWake(t *testing.T) {
	if plan := Decide(relayInput(time.Second), testNow); !plan.Wake.Equal(testNow.Add(2 * time.Second)) {
		t.Errorf("wake after %v", plan.Wake.Sub(testNow))
	}
}

func TestRelayWish(t *testing.T) {
	in := relayInput(time.Minute)
	in.Config.RelayServers = []RelayServer{{Host: "turn.example.com", Port: 3478}}
	six := testPeer("s", "13")
	six.Endpoints, six.Record.Relay = endpoints("[2001:db8::1]:51820"), 51820
	private := testPeer("t", "14")
	private.Endpoints, private.Record.Relay = endpoints("192.168.0.1:51820"), 51820
	in.Affiliates = append(in.Affiliates, six, private)
	w := Decide(in, testNow).Relays
	if len(w.Relays) != 3 || w.Want != 2 || w.Relays[0].Name != "turn:turn.example.com:3478" || w.Relays[0].NodeID != "" {
		t.Fatalf("%+v", w)
	}
	for _, r := range w.Relays[1:] {
		switch want := endpoints("198.51.100.1:443"); {
		case r.NodeID == "r" && (r.Family6 || !slices.Equal(r.Servers, want)):
			t.Errorf("%+v", r)
		case r.NodeID == "s" && (!r.Family6 || !slices.Equal(r.Servers, endpoints("[2001:db8::1]:51820"))):
			t.Errorf("%+v", r)
		}
	}
	// p, and those that were not tried yet; the private ones no relay reaches
	if want := endpoints("203.0.113.1:1", "203.0.113.2:2", "[2001:db8::1]:51820"); !slices.Equal(w.Peers, want) {
		t.Errorf("peers %v", w.Peers)
	}
}

// The node announces its relayed addresses last, whatever else there is, and its own relay.
func TestRelayedAddressIsAnnounced(t *testing.T) {
	in := relayInput(time.Minute)
	for i := range MaxEndpoints {
		in.Config.ExtraAnnouncedEndpoints = append(in.Config.ExtraAnnouncedEndpoints, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i+1)))
	}
	relayed := endpoints("198.51.100.1:49153", "198.51.100.1:49152") // the newer one first
	in.Host.RelayPort = 443
	in.Host.Relays = []RelayStatus{
		{Relay: "r", Relayed: relayed[0], Former: relayed[1], Permitted: true},
		{Relay: "x", Relayed: netip.MustParseAddrPort("198.51.100.2:49152")}, // its peers would be refused
		{Relay: "y", Relayed: netip.MustParseAddrPort("127.0.0.1:49152"), Permitted: true},
	}
	local := Decide(in, testNow).Local
	if n := len(local.Endpoints); n != MaxEndpoints || !slices.Equal(local.Endpoints[n-2:], relayed) {
		t.Errorf("endpoints %v", local.Endpoints)
	}
	if local.Record.Relay != 443 || !slices.Equal(local.Record.Relayed, relayed) {
		t.Errorf("%+v", local.Record)
	}
}

// Of the relayed candidates those by one relay are alike, whoever has asked for it; those by two
// come last.
func TestRelayedCandidatesAreLast(t *testing.T) {
	in := relayInput(time.Minute)
	p := &in.Affiliates[0]
	p.Endpoints = append(p.Endpoints, endpoints("198.51.100.1:50000")...)
	p.Record.Relayed = p.Endpoints[3:]
	in.Host.Relays = []RelayStatus{{Relay: "r", Relayed: netip.MustParseAddrPort("198.51.100.1:49152")}}
	var got []Candidate
	for _, c := range Decide(in, testNow).Peers {
		if c.PublicKey == p.PublicKey {
			got = c.Candidates
		}
	}
	want := []Candidate{
		{p.Endpoints[0], rankIPv4},
		{p.Endpoints[1], rankPrivate},
		{p.Endpoints[2], rankIPv4},
		{p.Endpoints[3], rankRelayed},
		{Via(p.Endpoints[0], "r"), rankRelayed},
		{Via(p.Endpoints[2], "r"), rankRelayed},
		{Via(p.Endpoints[3], "r"), rankRelayedTwice},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// A relayed path is shown with the member whose bandwidth it takes, and is nobody else's matter.
func TestRelayedPathIsShown(t *testing.T) {
	for name, tt := range map[string]struct {
		at   netip.AddrPort
		want string
	}{
		"this node's relay": {Via(netip.MustParseAddrPort("203.0.113.77:7"), "r"), "r"},
		"the peer's relay":  {netip.MustParseAddrPort("198.51.100.1:50000"), "r"},
		"direct":            {netip.MustParseAddrPort("203.0.113.1:1"), ""},
	} {
		in := relayInput(0)
		in.Config.HarvestExtraEndpoints = true
		p := &in.Affiliates[0]
		p.Addresses = []netip.Addr{netip.MustParseAddr("203.0.113.77")}
		p.Endpoints = append(p.Endpoints, endpoints("198.51.100.1:50000")...)
		p.Record.Relayed = p.Endpoints[3:]
		in.Stats[0].Path, in.Stats[0].Endpoint, in.Stats[0].LastHandshakeTime = &PeerPath{Settled: true}, tt.at, testNow
		plan := Decide(in, testNow)
		for _, s := range plan.Statuses {
			if s.Label == "p" && (s.Relay != tt.want || s.Endpoint != tt.at) {
				t.Errorf("%s: %v by %q", name, s.Endpoint, s.Relay)
			}
		}
		if len(plan.Endpoints) != 0 {
			t.Errorf("%s: published for others: %v", name, plan.Endpoints)
		}
		for _, pin := range plan.Pins {
			if pin.NodeID == "p" && len(pin.Reached) != 0 {
				t.Errorf("%s: the relay's word for an address is remembered: %v", name, pin.Reached)
			}
		}
	}
}

func TestNoRelay(t *testing.T) {
	messages := func(in Input) (out []string) {
		for _, c := range Decide(in, testNow).Conditions {
			if c.Type == ConditionNoRelay {
				out = append(out, c.Message)
			}
		}
		return out
	}
	in := relayInput(time.Minute)
	if got := messages(in); len(got) != 0 {
		t.Errorf("while the relay is asked: %q", got)
	}
	in.Host.Relays = []RelayStatus{{Relay: "r", Error: "no answer"}}
	if got := messages(in); len(got) != 1 || got[0] != "no packet gets through between this node and p, and no relay gives an address: r: no answer" {
		t.Errorf("%q", got)
	}
	in.Affiliates[1].Record.Relay = 0
	if got := messages(in); len(got) != 1 {
		t.Errorf("without an offer: %q", got)
	}
}

// A relay says which private networks it relays to.
func TestPrivateRelay(t *testing.T) {
	in := relayInput(time.Minute)
	in.Affiliates[1].Record.RelayNetworks = prefixes("10.0.0.0/8")
	in.Host.Relays = []RelayStatus{{Relay: "r", Relayed: netip.MustParseAddrPort("198.51.100.1:49152")}}
	in.Host.RelayPort, in.Config.RelayNetworks = 1, prefixes("172.16.0.0/12")
	plan := Decide(in, testNow)
	if r := plan.Relays.Relays[0]; !slices.Equal(r.Servers, endpoints("198.51.100.1:443", "10.0.0.2:443")) {
		t.Errorf("%+v", r)
	}
	if !slices.Contains(plan.Relays.Peers, in.Affiliates[0].Endpoints[1]) {
		t.Errorf("%v", plan.Relays.Peers)
	}
	private := Candidate{Via(in.Affiliates[0].Endpoints[1], "r"), rankRelayed}
	if !slices.ContainsFunc(plan.Peers, func(c PeerConfig) bool { return slices.Contains(c.Candidates, private) }) {
		t.Errorf("%+v", plan.Peers)
	}
	if !slices.Equal(plan.Local.Record.RelayNetworks, in.Config.RelayNetworks) {
		t.Errorf("%+v", plan.Local.Record)
	}
}

func TestManyRelayPeers(t *testing.T) {
	in := relayInput(time.Minute)
	for i := range 300 {
		p := testPeer(string(rune('A'+i%26))+string(rune('a'+i/26)), "1")
		p.Address = netip.AddrFrom16([16]byte{0xfd, 0, 0, 0, 0, 0, 0, 2, 1, byte(i / 256), 14: byte(i)})
		p.Endpoints = []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i / 256), byte(i)}), 1), netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 1, byte(i / 256), byte(i)}), 1),
		}
		p.Record.Relay = 1
		in.Affiliates = append(in.Affiliates, p)
	}
	w := Decide(in, testNow).Relays
	if len(w.Peers) != maxRelayPeers || len(w.Relays) != maxRelays || !slices.IsSortedFunc(w.Peers, netip.AddrPort.Compare) {
		t.Errorf("%d peers, %d relays", len(w.Peers), len(w.Relays))
	}
	for _, ep := range w.Peers {
		if b := ep.Addr().As4(); b[0] == 192 && b[1] == 1 {
			t.Errorf("a second endpoint before other peers' first: %v", ep)
			break
		}
	}
}

// A peer that relays do not help is likely gone: they are kept for a while, and tried again
// later, or when there is something new.
func TestRelayIsGivenUp(t *testing.T) {
	in := relayInput(time.Minute)
	decide := func(after time.Duration) Plan {
		plan := Decide(in, testNow.Add(after))
		in.Previous, in.RelayNeed, in.Known = plan.Statuses, plan.RelayNeed, plan.Known
		return plan
	}
	for _, step := range []struct {
		after  time.Duration
		change func()
		want   bool
	}{
		{0, nil, true},
		{2*time.Minute - 1, nil, true},
		{2 * time.Minute, nil, true}, // it lingers
		{3 * time.Minute, nil, false},
		{15 * time.Minute, nil, true},
		{19 * time.Minute, nil, false},
		{20 * time.Minute, func() { in.Affiliates[0].Record.Sequence = 1000; in.Affiliates[0].Record.Start = 1000 }, true},
		{24 * time.Minute, nil, false},
		{25 * time.Minute, func() { in.Config.RelayServers = []RelayServer{{Host: "turn.example.com", Port: 3478}} }, true},
	} {
		if step.change != nil {
			step.change()
		}
		plan := decide(step.after)
		if got := plan.Relays.Want > 0; got != step.want {
			t.Errorf("after %v: %v, want %v", step.after, got, step.want)
		}
		if at := testNow.Add(step.after); plan.Wake.IsZero() || !plan.Wake.After(at) || plan.Wake.Sub(at) > 15*time.Minute {
			t.Errorf("after %v: wake at %v", step.after, plan.Wake)
		}
	}
}

package mesh

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// ago is a moment before testNow; never is the zero time.
const never = time.Duration(1<<63 - 1)

func ago(d time.Duration) time.Time {
	if d == never {
		return time.Time{}
	}
	return testNow.Add(-d)
}

func TestConnectionState(t *testing.T) {
	const (
		ns = time.Nanosecond
		s  = time.Second
	)
	for _, c := range []struct {
		name              string
		change, handshake time.Duration // before now
		neverGiven        bool
		want              PeerState
	}{
		{"just given an endpoint", 0, never, false, PeerStateUnknown},
		{"just given one, older handshake", 0, ns, false, PeerStateUnknown},
		{"handshake at the moment of the change", 10 * s, 10 * s, false, PeerStateUnknown},
		{"handshake just after the change", 10 * s, 10*s - ns, false, PeerStateUp},
		{"just before 15 s, no handshake", 15*s - ns, never, false, PeerStateUnknown},
		{"just before 15 s, handshake", 15*s - ns, s, false, PeerStateUp},
		{"at 15 s, no handshake", 15 * s, never, false, PeerStateDown},
		{"at 15 s, handshake", 15 * s, s, false, PeerStateUp},
		{"after 15 s, handshake before the change", 15*s + ns, 16 * s, false, PeerStateDown},
		{"at 275 s, handshake after the change", 275 * s, 275*s - ns, false, PeerStateUp},
		{"at 275 s, handshake before the change", 275 * s, 276 * s, false, PeerStateDown},
		{"after 275 s, handshake just before 275 s", 275*s + ns, 275*s - ns, false, PeerStateUp},
		{"after 275 s, handshake at 275 s", 275*s + ns, 275 * s, false, PeerStateDown},
		{"after 275 s, handshake just after 275 s", 300 * s, 275*s + ns, false, PeerStateDown},
		{"after 275 s, no handshake", 275*s + ns, never, false, PeerStateDown},
		{"long ago, fresh handshake", time.Hour, s, false, PeerStateUp},
		{"never given an endpoint, no handshake", never, never, true, PeerStateUnknown},
		{"never given an endpoint, handshake from outside", never, s, true, PeerStateUp},
		{"never given an endpoint, handshake at 275 s", never, 275 * s, true, PeerStateUnknown},
		{"handshake of a clock ahead of ours", time.Hour, -s, false, PeerStateUp},
	} {
		t.Run(c.name, func(t *testing.T) {
			status := PeerStatus{
				LastEndpointChange: ago(c.change),
				LastHandshakeTime:  ago(c.handshake),
				LastUsedEndpoint:   netip.MustParseAddrPort("172.20.2.9:51820"),
			}
			if c.neverGiven {
				status.LastUsedEndpoint = netip.AddrPort{}
			}
			if got := status.connectionState(testNow); got != c.want {
				t.Errorf("state = %v, want %v", got, c.want)
			}
		})
	}
}

func TestNextEndpoint(t *testing.T) {
	const a, b, c, roamed = "172.20.2.1:1", "172.20.2.2:2", "[fd20:db8::3]:3", "172.21.100.1:9"
	for _, tc := range []struct {
		name             string
		state            PeerState
		lastUsed, device string
		list             string
		want             string
	}{
		{"nothing to pick", PeerStateDown, a, a, "", ""},
		{"nothing to pick, none used", PeerStateUnknown, "", "", "", ""},
		{"first time", PeerStateUnknown, "", "", a + " " + b, a},
		{"first time, up from outside", PeerStateUp, "", roamed, a + " " + b, a},
		{"up stays", PeerStateUp, a, a, a + " " + b, ""},
		{"unknown waits", PeerStateUnknown, a, a, a + " " + b, ""},
		{"down: next", PeerStateDown, a, a, a + " " + b + " " + c, b},
		{"down: next from wherever it roamed", PeerStateDown, b, roamed, a + " " + b + " " + c, c},
		{"down: wraps", PeerStateDown, c, c, a + " " + b + " " + c, a},
		{"down: last used is gone", PeerStateDown, roamed, roamed, a + " " + b, a},
		{"down: last used is gone, one left", PeerStateDown, b, b, a, a},
		{"up: last used is gone", PeerStateUp, roamed, roamed, a + " " + b, ""},
		{"unknown: last used is gone", PeerStateUnknown, roamed, roamed, a + " " + b, ""},
		{"down: the only one, in use", PeerStateDown, a, a, a, ""},
		{"down: the only one, roamed away", PeerStateDown, a, roamed, a, a},
		{"down: the only one, device has none", PeerStateDown, a, "", a, a},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := PeerStatus{State: tc.state}
			if tc.lastUsed != "" {
				s.LastUsedEndpoint = netip.MustParseAddrPort(tc.lastUsed)
			}
			if tc.device != "" {
				s.Endpoint = netip.MustParseAddrPort(tc.device)
			}
			got, ok := s.nextEndpoint(addrPorts(tc.list))
			if ok != (tc.want != "") || ok && got.String() != tc.want {
				t.Errorf("next = %v, %v; want %q", got, ok, tc.want)
			}
		})
	}
}

// The device is given only an endpoint that must change.
func TestEndpointForDevice(t *testing.T) {
	const a, b, roamed = "172.20.2.1:1", "172.20.2.2:2", "172.21.100.1:9"
	for _, c := range []struct {
		name       string
		lastUsed   string
		change     time.Duration
		inDevice   bool
		device     string
		handshake  time.Duration
		wantDevice string // PeerConfig.Endpoint
		wantState  PeerState
	}{
		{"new peer", "", never, false, "", never, a, PeerStateUnknown},
		{"waiting, as given", a, 5 * time.Second, true, a, never, "", PeerStateUnknown},
		{"up, as given", a, time.Hour, true, a, time.Second, "", PeerStateUp},
		{"up, roamed", a, time.Hour, true, roamed, time.Second, "", PeerStateUp},
		{"up, device shows none", a, time.Hour, true, "", time.Second, a, PeerStateUp},
		{"peer lost by the device", a, 5 * time.Second, false, "", never, a, PeerStateUnknown},
		{"down: rotated", a, 15 * time.Second, true, a, never, b, PeerStateUnknown},
		{"down: wraps", b, 15 * time.Second, true, b, never, a, PeerStateUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := testInput()
			peer := testPeer("n1", "11")
			peer.Endpoints = addrPorts(a + " " + b)
			in.Affiliates = []Affiliate{peer}
			old := PeerStatus{PublicKey: peer.PublicKey, LastEndpointChange: ago(c.change)}
			if c.lastUsed != "" {
				old.LastUsedEndpoint = netip.MustParseAddrPort(c.lastUsed)
				in.Previous = []PeerStatus{old}
			}
			if c.inDevice {
				stats := PeerStats{PublicKey: peer.PublicKey, LastHandshakeTime: ago(c.handshake), ReceiveBytes: 3, TransmitBytes: 4}
				if c.device != "" {
					stats.Endpoint = netip.MustParseAddrPort(c.device)
				}
				in.Stats = []PeerStats{stats}
			}
			plan := Decide(in, testNow)
			got := plan.Peers[0].Endpoint
			if c.wantDevice == "" && got.IsValid() || c.wantDevice != "" && got.String() != c.wantDevice {
				t.Errorf("device is given %v, want %q", got, c.wantDevice)
			}
			status := plan.Statuses[0]
			if status.State != c.wantState {
				t.Errorf("state = %v, want %v", status.State, c.wantState)
			}
			rotated := c.wantDevice != "" && c.wantDevice != c.lastUsed
			if rotated != status.LastEndpointChange.Equal(testNow) {
				t.Errorf("last endpoint change %v, want now: %v", status.LastEndpointChange, rotated)
			}
			if c.inDevice && (status.ReceiveBytes != 3 || status.TransmitBytes != 4) {
				t.Errorf("counters %d, %d aren't the device's", status.ReceiveBytes, status.TransmitBytes)
			}
			if plan.Peers[0].PersistentKeepalive != PersistentKeepalive || plan.Peers[0].PresharedKey != in.Config.ClusterSecret {
				t.Error("keepalive or preshared key is missing")
			}
		})
	}
}

func TestWake(t *testing.T) {
	const ns, s = time.Nanosecond, time.Second
	used := netip.MustParseAddrPort("172.20.2.9:51820")
	for _, c := range []struct {
		name              string
		change, handshake time.Duration
		want              time.Duration // after now; 0: never
	}{
		{"new endpoint", 0, never, 15 * s},
		{"just before 15 s", 15*s - ns, never, ns},
		{"down", 15 * s, never, 0},
		{"down for long", time.Hour, never, 0},
		{"up after the change", 10 * s, 5 * s, 270 * s},
		{"up, handshake a moment after the change", 100 * s, 100*s - ns, 175*s + ns},
		{"up for long", time.Hour, 100 * s, 175 * s},
		{"up for long, about to fall", time.Hour, 275*s - ns, ns},
		{"never given, up from outside", never, 100 * s, 175 * s},
		{"never given, unknown", never, never, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := PeerStatus{LastUsedEndpoint: used, LastEndpointChange: ago(c.change), LastHandshakeTime: ago(c.handshake)}
			if c.change == never {
				p.LastUsedEndpoint = netip.AddrPort{}
			}
			p.State = p.connectionState(testNow)
			got := p.wake(testNow)
			if c.want == 0 {
				if !got.IsZero() {
					t.Errorf("wake = %v, want never", got)
				}
				return
			}
			if want := testNow.Add(c.want); !got.Equal(want) {
				t.Fatalf("wake = now%+v, want now%+v", got.Sub(testNow), c.want)
			}
			if p.connectionState(got) == p.State || p.connectionState(got.Add(-ns)) != p.State {
				t.Error("the state doesn't change at the wake-up")
			}
		})
	}
}

// A peer with a dead and a live endpoint, followed from wake-up to wake-up.
func TestEndpointCycle(t *testing.T) {
	dead, live := netip.MustParseAddrPort("172.20.2.66:1"), netip.MustParseAddrPort("172.20.2.67:2")
	in := testInput()
	peer := testPeer("n1", "11")
	peer.Endpoints = []netip.AddrPort{dead, live}
	in.Affiliates = []Affiliate{peer}
	now := testNow
	stats := PeerStats{PublicKey: peer.PublicKey}
	step := func() Plan {
		t.Helper()
		in.Stats = []PeerStats{stats}
		plan := Decide(in, now)
		in.Previous = plan.Statuses
		if ep := plan.Peers[0].Endpoint; ep.IsValid() {
			stats.Endpoint = ep
		}
		return plan
	}
	if got := step().Peers[0].Endpoint; got != dead {
		t.Fatalf("first endpoint = %v, want %v", got, dead)
	}
	plan := step()
	if want := now.Add(EndpointTimeout); !plan.Wake.Equal(want) {
		t.Fatalf("wake = %v, want %v", plan.Wake, want)
	}
	now = plan.Wake
	if plan = step(); plan.Peers[0].Endpoint != live || plan.Statuses[0].State != PeerStateUnknown {
		t.Fatalf("at 15 s: %v %v, want %v unknown", plan.Peers[0].Endpoint, plan.Statuses[0].State, live)
	}
	now = now.Add(time.Second)
	stats.LastHandshakeTime = now
	if plan = step(); plan.Statuses[0].State != PeerStateUp {
		t.Fatalf("after the handshake: %v", plan.Statuses[0].State)
	}
	now = plan.Wake
	if plan = step(); plan.Peers[0].Endpoint != dead || plan.Statuses[0].State != PeerStateUnknown {
		t.Fatalf("275 s after the last handshake: %v %v, want %v again", plan.Peers[0].Endpoint, plan.Statuses[0].State, dead)
	}
}

func TestPeerStateText(t *testing.T) {
	for s, want := range map[PeerState]string{PeerStateUnknown: "unknown", PeerStateUp: "up", PeerStateDown: "down"} {
		b, err := s.MarshalText()
		if err != nil || string(b) != want || s.String() != want {
			t.Errorf("%d: %q, %v, String %q; want %q", int(s), b, err, s.String(), want)
		}
		var back PeerState
		if err := back.UnmarshalText(b); err != nil || back != s {
			t.Errorf("%q is read as %v, %v", b, back, err)
		}
	}
	for _, s := range []PeerState{-1, 3} {
		if b, err := s.MarshalText(); err == nil {
			t.Errorf("state %d encodes as %q", int(s), b)
		}
		if !strings.HasPrefix(s.String(), "PeerState(") {
			t.Errorf("state %d prints as %q", int(s), s.String())
		}
	}
	s := PeerStateUp
	if err := s.UnmarshalText([]byte("Up")); err == nil || s != PeerStateUp {
		t.Errorf(`"Up" is read as %v, %v`, s, err)
	}
}

// Scripts read conditions in the JSON of the status.
func TestConditionJSON(t *testing.T) {
	c := Condition{ConditionCloned, "node-1", "it runs on two hosts"}
	const want = `{"type":"IdentityCloned","subject":"node-1","message":"it runs on two hosts"}`
	if b, err := json.Marshal(c); err != nil || string(b) != want {
		t.Errorf("encoded as %s, %v, want %s", b, err, want)
	}
}

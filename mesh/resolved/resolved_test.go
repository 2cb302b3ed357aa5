package resolved

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testLink = Link{
	Index: 7, Server: netip.MustParseAddr("fd00:0:0:2::1"), Domains: []Domain{{Name: "mesh", Search: true}, {Name: "2.0.d.f.ip6.arpa"}},
}

// fakeBus is a system bus with resolved, whose calls it records.
type fakeBus struct {
	mu      sync.Mutex
	up      string // who answers for resolved
	errs    map[string]error
	calls   []string
	changes chan struct{}
	closed  bool
	said    []string
}

func newFakeBus() *fakeBus {
	return &fakeBus{up: ":1.1", errs: map[string]error{}, changes: make(chan struct{}, 1)}
}

// with calls do while nothing else uses the bus.
func (f *fakeBus) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *fakeBus) owner(context.Context) (owner string, err error) {
	f.with(func() { owner, err = f.up, f.errs["owner"] })
	return owner, err
}

func (f *fakeBus) changed() (c <-chan struct{}) {
	f.with(func() { c = f.changes })
	return c
}

func (f *fakeBus) close() { f.with(func() { f.closed = true }) }

func (f *fakeBus) call(_ context.Context, method string, args ...any) (err error) {
	f.with(func() {
		f.calls = append(f.calls, fmt.Sprint(method, args))
		err = f.errs[method]
	})
	return err
}

func (f *fakeBus) isClosed() (closed bool) {
	f.with(func() { closed = f.closed })
	return closed
}

// took returns the calls, and what was said, since the last time.
func (f *fakeBus) took() (calls, said []string) {
	f.with(func() { calls, said, f.calls, f.said = f.calls, f.said, nil, nil })
	return calls, said
}

// start runs a registration in a bubble. The bus is to be prepared before.
func (f *fakeBus) start(t *testing.T, link Link) (stop func()) {
	t.Helper()
	report := func(s string) { f.with(func() { f.said = append(f.said, s) }) }
	reg := &registration{link: link, report: report, connect: func(context.Context) (b bus, err error) {
		f.with(func() { f.closed, f.changes, b, err = false, make(chan struct{}, 1), f, f.errs["connect"] })
		return b, err
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); reg.run(ctx) }()
	synctest.Wait()
	return func() { cancel(); <-done }
}

var registered = []string{
	"SetLinkDefaultRoute[7 false]", "SetLinkDomains[7 [{mesh false} {2.0.d.f.ip6.arpa true}]]", "SetLinkDNSSEC[7 no]", "SetLinkDNSOverTLS[7 no]",
	"SetLinkLLMNR[7 no]", "SetLinkMulticastDNS[7 no]", "SetLinkDNS[7 [{10 [253 0 0 0 0 0 0 2 0 0 0 0 0 0 0 1]}]]",
}

func TestRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBus()
		stop := f.start(t, testLink)
		if calls, said := f.took(); !slices.Equal(calls, registered) || !slices.Equal(said, []string{""}) {
			t.Errorf("calls %q, want %q; said %q", calls, registered, said)
		}
		change := func(owner string) {
			f.with(func() {
				f.up = owner
				f.changes <- struct{}{}
			})
			synctest.Wait()
		}
		change(":1.1") // of nothing
		time.Sleep(2 * retryInterval)
		if calls, said := f.took(); len(calls)+len(said) > 0 {
			t.Errorf("without a change: calls %q, said %q", calls, said)
		}

		change("") // resolved stops, and starts again
		change(":1.2")
		calls, said := f.took()
		if !slices.Equal(calls, registered) || len(said) != 2 || !strings.Contains(said[0], "does not run on this host") || said[1] != "" {
			t.Errorf("after a restart of resolved: calls %q, said %q", calls, said)
		}
		stop()
		if calls, _ := f.took(); !slices.Equal(calls, []string{"RevertLink[7]"}) || !f.isClosed() {
			t.Errorf("calls at the end: %q", calls)
		}
	})
}

// The connection is made anew when it is lost, or was not to be had.
func TestConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBus()
		f.errs["connect"] = errors.New("no such file")
		stop := f.start(t, testLink)
		time.Sleep(3 * retryInterval)
		if calls, said := f.took(); len(calls) > 0 || len(said) != 1 || !strings.Contains(said[0], "does not run on this host (no such file)") {
			t.Errorf("without a bus: calls %q, said %q", calls, said)
		}
		f.with(func() { delete(f.errs, "connect") })
		time.Sleep(retryInterval)
		synctest.Wait()
		if calls, _ := f.took(); !slices.Equal(calls, registered) {
			t.Errorf("calls %q", calls)
		}
		f.with(func() { close(f.changes) })
		synctest.Wait()
		if _, said := f.took(); !f.isClosed() || len(said) != 1 || !strings.Contains(said[0], "has closed the connection") {
			t.Errorf("when the connection is lost, said %q", said)
		}
		time.Sleep(retryInterval)
		synctest.Wait()
		if calls, _ := f.took(); !slices.Equal(calls, registered) {
			t.Errorf("calls of the new connection: %q", calls)
		}
		stop()
	})
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		method string
		err    error
		want   string // empty: registered nevertheless
	}{
		{"SetLinkDNSSEC", errUnknownMethod, ""},
		{"SetLinkDefaultRoute", errUnknownMethod, ""},
		{"SetLinkDNS", errUnknownMethod, "SetLinkDNS: this version of systemd-resolved is too old; write"},
		{"SetLinkDefaultRoute", errBusy, "SetLinkDefaultRoute: another program manages the interface's DNS settings; take the interface out"},
		{"SetLinkDomains", errDenied, "not permitted; run the agent as root"},
		{"SetLinkDomains", errors.New("timeout"), `timeout; write "nameserver fd00:0:0:2::1" at the top of /etc/resolv.conf, or "server=/mesh/fd00:0:0:2::1" for dnsmasq`},
		{"owner", errors.New("odd"), "by themselves: odd; write"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeBus()
			f.errs[test.method] = test.err
			stop := f.start(t, testLink)
			calls, said := f.took()
			if len(said) != 1 || (test.want == "") != (said[0] == "") || !strings.Contains(said[0], test.want) {
				t.Errorf("%s, %v: said %q, want %q", test.method, test.err, said, test.want)
			}
			if reverted := slices.Contains(calls, "RevertLink[7]"); reverted != (test.want != "" && test.method != "owner") {
				t.Errorf("%s, %v: calls %q", test.method, test.err, calls)
			}
			f.with(func() { delete(f.errs, test.method) })
			time.Sleep(retryInterval)
			synctest.Wait()
			if _, said := f.took(); (len(said) == 1 && said[0] == "") != (test.want != "") {
				t.Errorf("%s, %v: after it has passed, said %q", test.method, test.err, said)
			}
			stop()
		})
	}
}

func TestRunRefuses(t *testing.T) {
	if err := Run(t.Context(), Link{Index: 1}, nil); err == nil {
		t.Error("a link without a server")
	}
}

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control/http1"
)

// controlled is an agent among fakes with a real control socket.
type controlled struct {
	*harness
	path   string
	client *http.Client
	stop   func() // the socket; returns when Run has
}

// decider is a founder that makes tokens for up to 9 nodes.
type decider struct{ Authority }

func (decider) NewToken(uses int, lifetime time.Duration) (string, error) {
	if uses > 9 {
		return "", errTest
	}
	return fmt.Sprint(uses, lifetime), nil
}

// serveControl serves no metrics, as the edge build does.
func serveControl(t *testing.T, access Access) *controlled {
	t.Helper()
	return serveWith(t, access, func(Agent) Metrics { return nil })
}

func serveWith(t *testing.T, access Access, metrics func(Agent) Metrics) *controlled {
	t.Helper()
	h := run(t)
	c := &controlled{harness: h, path: filepath.Join(t.TempDir(), "s")}
	control, err := Open(Config{
		Path: c.path, Agent: h.agent, Metrics: metrics(h.agent), Access: access, Log: hclog.NewNullLogger(),
		Authority: decider{},
		Command: func(_ context.Context, socket string, args []string, columns int, usual bool) ([]byte, error) {
			if len(args) == 0 {
				return nil, errTest
			}
			return fmt.Appendln(nil, socket, args, columns, usual), nil
		},
		Netcheck: func(context.Context) (mesh.Netcheck, error) {
			f := mesh.NAT{Family: "ipv4", Type: "symmetric", Mapped: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.9:4000")}}
			return mesh.Netcheck{Running: true, NATCheck: mesh.NATCheck{Families: []mesh.NAT{f}}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- control.Run(ctx) }()
	c.client = unixClient(c.path)
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Control.Run = %v", err)
		}
	})
	t.Cleanup(func() {
		c.stop()
		h.stop()
	})
	return c
}

func unixClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
}

func request1(t *testing.T, c *http.Client, method, target string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://wirespan"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (c *controlled) want(method, target string, code int, text string) {
	c.t.Helper()
	got, body := request1(c.t, c.client, method, target)
	if got != code || !strings.Contains(body, text) {
		c.t.Errorf("%s %s = %d %q, want %d %q", method, target, got, body, code, text)
	}
}

func TestControlAnswers(t *testing.T) {
	c := serveControl(t, nil)
	c.want("GET", "/v1/health/live", 200, "ok")
	c.want("GET", "/v1/health/ready", 503, "no source of nodes has answered yet")
	p := c.up()
	c.want("GET", "/v1/health/ready", 200, "ok")
	c.want("GET", "/v1/health/well", 404, "unknown check: use live or ready")
	c.want("GET", "/v1/status", 200, `"label":"node-2","address":"`+p.Address.String()+`","allowedIPs":["`+p.Address.String()+`/128"],"state":"up"`)
	c.want("GET", "/v1/resources/Members.cluster.talos.dev?id=node-2", 200, `[{"metadata":{"namespace":"cluster","type":"Members.cluster.talos.dev","id":"node-2","version":1,`)
	for _, name := range []string{"members", "MEM", "Member", "members.CLUSTER.talos.dev"} {
		c.want("GET", "/v1/resources/"+name+"?id=node-2", 200, `[{"metadata":{"namespace":"cluster","type":"Members.cluster.talos.dev","id":"node-2"`)
	}
	c.want("GET", "/v1/resources/members?id=nobody", 200, "[]")
	c.want("GET", "/v1/resources/Nothing", 404, `unknown resource "Nothing"; there are kubespanidentities, `)
	c.want("GET", "/v1/resources/nothing?watch=1", 404, "affiliates, members")
	c.want("POST", "/v1/ping?address="+p.Address.String(), 200, `{"rtt":20000000}`)
	c.want("POST", "/v1/ping?address=fd00::1", 502, "fd00::1 belongs to no peer of this node")
	c.device.With(func() { clear(c.device.Peers) }) // it no longer answers
	c.want("POST", "/v1/ping?address="+p.Address.String(), 504, "no peer has this address")
	c.want("POST", "/v1/ping?address=node-2", 400, "node-2")
	c.want("GET", "/v1/reload", 405, "")
	c.want("GET", "/", 404, "")
	c.want("GET", "/metrics", 501, "this is the edge build, which has no metrics")
	c.want("CONNECT", "", 501, "no way into the mesh")
}

func TestControlReload(t *testing.T) {
	c := serveControl(t, nil)
	c.reload = func() (*agent.Effective, error) { return nil, errTest }
	c.want("POST", "/v1/reload", 422, errTest.Error())
	c.reload = func() (*agent.Effective, error) {
		return testSettings(t, "---\napiVersion: v1alpha1\nkind: WirespanConfig\nbackend: netstack\n"), nil
	}
	c.want("POST", "/v1/reload", 200, `{"restart":["backend"]}`)
}

func TestControlLeave(t *testing.T) {
	c := serveControl(t, nil)
	c.want("POST", "/v1/leave", 200, "ok")
	c.want("POST", "/v1/leave", 502, "the agent has stopped")
	if running, deleted := c.found().State(); running || deleted != 1 {
		t.Errorf("running %v, deleted %d times", running, deleted)
	}
}

func TestControlToken(t *testing.T) {
	c := serveControl(t, nil)
	c.want("POST", "/v1/token?uses=10&lifetime=1h", 422, errTest.Error())
	c.want("POST", "/v1/token?uses=two&lifetime=1h", 400, "uses is a number, and lifetime a duration")
	c.want("POST", "/v1/token?uses=2", 400, "uses is a number, and lifetime a duration")
	cl := NewClient(c.path)
	if text, err := cl.Token(t.Context(), 2, time.Hour); err != nil || text != "2 1h0m0s" {
		t.Errorf("Token = %q, %v", text, err)
	}
}

func TestControlNetcheck(t *testing.T) {
	c := serveControl(t, nil)
	c.want("GET", "/v1/netcheck", 405, "")
	c.want("POST", "/v1/netcheck", 200, `"type":"symmetric"`)
	cl := NewClient(c.path)
	n, err := cl.Netcheck(t.Context())
	if err != nil || !n.Running || n.Families[0].Mapped[0].Port() != 4000 || n.Families[0].Hairpin != nil {
		t.Errorf("Netcheck = %+v, %v", n, err)
	}
}

// The owner's commands are run by the agent if it can: the length of the output tells a cut one.
func TestControlCommand(t *testing.T) {
	c := serveControl(t, nil)
	c.want("GET", "/v1/command?arg=status&arg=-o&arg=json&columns=132&usual=1", http.StatusOK, c.path+" [status -o json] 132 true\n")
	c.want("GET", "/v1/command?arg=get", http.StatusOK, c.path+" [get] 0 false")
	c.want("GET", "/v1/command?columns=-1", http.StatusUnprocessableEntity, errTest.Error())
	c.want("POST", "/v1/command?arg=get", http.StatusMethodNotAllowed, "")
	answer, err := c.client.Get("http://x/v1/command?arg=get")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); answer.ContentLength != int64(len(body)) {
		t.Errorf("length %d of %q", answer.ContentLength, body)
	}
}

func TestControlForget(t *testing.T) {
	c := serveControl(t, nil)
	cl := NewClient(c.path)
	if err := cl.Forget(t.Context(), "node-2"); err == nil || !strings.Contains(err.Error(), `no node "node-2" is remembered`) {
		t.Errorf("Forget of nobody = %v", err)
	}
	c.up()
	if err := cl.Forget(t.Context(), "node-2"); err != nil {
		t.Errorf("Forget = %v", err)
	}
}

func TestControlWatch(t *testing.T) {
	c := serveControl(t, nil)
	watch := func(target string) (*json.Decoder, func()) {
		t.Helper()
		resp, err := c.client.Get("http://wirespan" + target)
		if err != nil {
			t.Fatal(err)
		}
		return json.NewDecoder(resp.Body), func() { _ = resp.Body.Close() }
	}
	members, done := watch("/v1/resources/Members.cluster.talos.dev?watch=1")
	defer done()
	statuses, done := watch("/v1/status?watch=1")
	defer done()
	next := func() string {
		t.Helper()
		var e agent.Event
		if err := members.Decode(&e); err != nil {
			t.Fatal(err)
		}
		return string(e.Type) + " " + e.Resource.Metadata.ID
	}
	p := testPeer()
	renamed := p
	renamed.OperatingSystem = "Talos (v1.15.0)"
	for _, step := range []struct {
		find []mesh.Affiliate
		want string
	}{
		{nil, "created self.example"},
		{[]mesh.Affiliate{p}, "created node-2"},
		{[]mesh.Affiliate{renamed}, "updated node-2"},
		{nil, "deleted node-2"},
	} {
		c.found().Find(step.find...)
		if got := next(); got != step.want {
			t.Errorf("event %q, want %q", got, step.want)
		}
	}
	var s agent.Status
	if err := statuses.Decode(&s); err != nil || s.Node.ID != c.agent.Status().Node.ID {
		t.Errorf("status %+v, %v", s, err)
	}
	c.stop()
	for err := error(nil); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF); {
		err = statuses.Decode(&s)
	}
	if err := members.Decode(&agent.Event{}); err == nil {
		t.Error("a watch goes on after the socket's end")
	}
	if _, err := os.Stat(c.path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
}

// stuck is an agent whose loop no longer turns.
type stuck struct{ *agent.Agent }

func (s stuck) Status() *agent.Status {
	old := *s.Agent.Status()
	old.Updated = time.Now().Add(-5 * time.Minute)
	return &old
}

func TestControlNotLive(t *testing.T) {
	h := run(t)
	defer h.stop()
	var out bytes.Buffer
	w := http1.NewResponse(&out)
	writeHealth(w, stuck{h.agent}, "live")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := "the agent's loop last turned 5m0s ago"; !strings.HasPrefix(out.String(), "HTTP/1.1 503 ") || !strings.Contains(out.String(), want) {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

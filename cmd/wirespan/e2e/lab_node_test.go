package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
)

// nobody is the uid and gid of agents without privileges.
const nobody = 65534

// labNode is an agent, running or not, and its files.
type labNode struct {
	*labHost
	home  string
	flags []string
	as    []string // what starts the agent; empty: it runs as root
	owner int
	proc  *labProcess

	control *control.Client
}

// node prepares an agent on the host, configured by YAML documents. Without
// any it founds a cluster or joins one by token.
func (h *labHost) node(documents string) *labNode {
	h.Helper()
	n := &labNode{labHost: h, home: filepath.Join(h.dir, h.name)}
	if err := os.Mkdir(n.home, 0o700); err != nil {
		h.Fatal(err)
	}
	n.configure(documents)
	n.control = control.NewClient(n.path("s"))
	h.Cleanup(func() {
		n.control.Close()
		_ = os.Remove(filepath.Join(device.UAPIDirectory, n.link()+".sock")) // a killed agent leaves it
	})
	n.flags = []string{
		"--config", n.path("config.yaml"), "--state-dir", n.home, "--control-socket", n.path("s"),
		// Distinct over all hosts, since wg(8) sockets share one directory.
		"--interface-name", fmt.Sprintf("w%d-%d%.2s", os.Getpid(), h.number, h.name),
		"--nodename", h.name, "--hostname", h.name, "--no-clock-fix", "--leave-on-stop=false",
	}
	return n
}

// unprivileged makes the agent run without root, capabilities or a way to them.
func (n *labNode) unprivileged() *labNode {
	n.Helper()
	n.owner = nobody
	id := strconv.Itoa(nobody)
	n.as = []string{
		"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--no-new-privs",
		"--inh-caps=-all", "--bounding-set=-all",
	}
	n.own(n.home)
	n.own(n.path("config.yaml"))
	return n
}

func (n *labNode) own(path string) {
	n.Helper()
	if err := os.Chown(path, n.owner, n.owner); err != nil {
		n.Fatal(err)
	}
}

func (n *labNode) path(file string) string { return filepath.Join(n.home, file) }

// configure writes the configuration file.
func (n *labNode) configure(documents string) {
	n.Helper()
	if err := os.WriteFile(n.path("config.yaml"), []byte(documents), 0o600); err != nil {
		n.Fatal(err)
	}
}

func (n *labNode) link() string { return n.flags[7] }

func (n *labNode) argv(args ...string) []string {
	return append(append([]string{n.binary}, args...), n.flags...)
}

// start starts the agent with a subcommand.
func (n *labNode) start(args ...string) {
	n.Helper()
	n.proc = n.spawn(n.name, append(n.as, n.argv(args...)...)...)
}

// up starts the agent.
func (n *labNode) up() { n.Helper(); n.start("up") }

// keep stores a join token where the agent may read it, and returns the flag's value.
func (n *labNode) keep(token string) string {
	n.Helper()
	if err := os.WriteFile(n.path("token"), []byte(token), 0o600); err != nil {
		n.Fatal(err)
	}
	n.own(n.path("token"))
	return "@" + n.path("token")
}

// join starts the agent with a token.
func (n *labNode) join(token string) {
	n.Helper()
	n.start("up", "--join", n.keep(token))
}

// found starts the agent as founder and returns its join token.
func (n *labNode) found() (token string) {
	n.Helper()
	n.up()
	eventually(n.T, 20*time.Second, func() error {
		data, err := os.ReadFile(n.path("join-token"))
		token = string(data)
		return errors.Join(err, n.proc.running())
	})
	return token
}

// restart kills the agent, so that it can save nothing, and starts it again.
func (n *labNode) restart() {
	n.Helper()
	n.proc.end(n.T, syscall.SIGKILL)
	n.up()
}

// cli runs a command of wirespan on the node's host.
func (n *labNode) cli(args ...string) (string, error) { return n.exec(n.argv(args...)...) }

func (n *labNode) mustCLI(args ...string) string {
	n.Helper()
	return n.mustExec(n.argv(args...)...)
}

func (n *labNode) status() (*agent.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.control.Status(ctx)
}

func (n *labNode) mustStatus() *agent.Status {
	n.Helper()
	s, err := n.status()
	if err != nil {
		n.Fatal(err)
	}
	return s
}

// peer returns what the node thinks of another.
func (n *labNode) peer(name string) (agent.PeerView, error) {
	if err := n.proc.running(); err != nil {
		return agent.PeerView{}, err
	}
	s, err := n.status()
	if err != nil {
		return agent.PeerView{}, err
	}
	return control.FindPeer(s, name)
}

// sees is an error unless the peer is up for the node.
func (n *labNode) sees(name string) error {
	p, err := n.peer(name)
	if err == nil && p.State != mesh.PeerStateUp {
		err = fmt.Errorf("%s sees %s %s", n.name, name, p.State)
	}
	return err
}

// lacks is an error while the node knows the peer.
func (n *labNode) lacks(name string) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	for _, p := range s.Peers {
		if p.Label == name {
			return fmt.Errorf("%s still knows %s", n.name, name)
		}
	}
	return nil
}

// labSpec is what the scenarios read of a peer spec.
type labSpec struct {
	Endpoints []netip.AddrPort `json:"endpoints"`
}

// labAffiliate is what they read of an affiliate.
type labAffiliate struct {
	KubeSpan *labSpec `json:"kubespan"`
}

// resources lists what `wirespan get` shows; spec is decoded into T.
func resources[T any](n *labNode, name string) (map[string]T, error) {
	typ, err := agent.FindResourceType(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	list, err := n.control.Resources(ctx, control.ResourceQuery{Type: typ})
	if err != nil {
		return nil, err
	}
	out := map[string]T{}
	for _, r := range list {
		var spec T
		if err := json.Unmarshal(r.Spec, &spec); err != nil {
			return nil, err
		}
		out[r.Metadata.ID] = spec
	}
	return out, nil
}

// allUp waits until every node sees all others up, and returns how long that took.
func (l *lab) allUp(nodes ...*labNode) time.Duration {
	l.Helper()
	return eventually(l.T, time.Minute, func() error {
		for _, n := range nodes {
			for _, other := range nodes {
				if n == other {
					continue
				}
				if err := n.sees(other.name); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// pings sends echo requests by the system's ping through the TUN of n. When
// both sides of a pair initiate at once, a session may be deaf on one side, and
// WireGuard replaces it only after 15 s of silence.
func (n *labNode) pings(to *labNode) {
	n.Helper()
	if _, err := n.exec("ping", "-6", "-c", "3", "-i", "0.2", "-w", "25", to.mustStatus().Node.Address.String()); err != nil {
		n.describe()
		to.describe()
		n.Fatal(err)
	}
}

// describe logs what may explain that packets are lost.
func (n *labNode) describe() {
	n.Helper()
	for _, argv := range [][]string{
		{"wg", "show", n.link()}, {"ip", "address"}, {"ip", "-6", "route"}, n.argv("status"), n.argv("get", "kubespanpeerspecs", "-o", "yaml"),
	} {
		out, _ := n.exec(argv...)
		n.Logf("%s: %s\n%s", n.name, filepath.Base(argv[0]), out)
	}
}

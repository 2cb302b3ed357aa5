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
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
)

// nobody is the uid and the gid of agents without privileges.
const nobody = 65534

// labNode is an agent on a host, running or not, with its files.
type labNode struct {
	*labHost
	binary string // that it runs
	home   string
	flags  []string
	as     []string // command that runs the agent; empty: it runs as root
	owner  int
	proc   *labProcess

	control *control.Client
}

// node prepares an agent on the host, configured by YAML documents. Without documents
// the agent founds a cluster or joins one by token.
func (h *labHost) node(documents string) *labNode {
	h.Helper()
	n := &labNode{labHost: h, binary: h.binary, home: filepath.Join(h.dir, h.name)}
	if err := os.Mkdir(n.home, 0o700); err != nil {
		h.Fatal(err)
	}
	n.configure(documents)
	n.control = control.NewClient(n.path("s"))
	h.Cleanup(func() {
		_ = os.Remove(filepath.Join(device.UAPIDirectory, n.link()+".sock")) // a killed agent does not remove it
	})
	n.flags = []string{
		"--config", n.path("config.yaml"), "--state-dir", "memory:" + n.home, // /tmp may be a tmpfs
		"--control-socket", n.path("s"),
		// Unique over all hosts, since all wg(8) sockets are in one directory.
		"--interface-name", fmt.Sprintf("w%d-%d%.2s", os.Getpid(), h.number, h.name),
		"--nodename", h.name, "--hostname", h.name, "--announce-as-member", "--no-clock-fix", "--leave-on-stop=false",
	}
	return n
}

// unprivileged makes the agent run as nobody, without capabilities and without a way to
// gain them.
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

// own gives a file to the agent's user.
func (n *labNode) own(path string) {
	n.Helper()
	if err := os.Chown(path, n.owner, n.owner); err != nil {
		n.Fatal(err)
	}
}

// path returns the path of a file in the agent's state directory.
func (n *labNode) path(file string) string { return filepath.Join(n.home, file) }

// configure writes the configuration file.
func (n *labNode) configure(documents string) {
	n.Helper()
	if err := os.WriteFile(n.path("config.yaml"), []byte(documents), 0o600); err != nil {
		n.Fatal(err)
	}
}

// link returns the name of the agent's interface.
func (n *labNode) link() string { return n.flags[7] }

// argv returns a command line of wirespan for this node. A command that asks the agent
// takes only its socket.
func (n *labNode) argv(args ...string) []string {
	flags := []string{"--control-socket", n.path("s")}
	switch args[0] {
	case "up", "down", "gen", "token", "firewall", "demo":
		flags = n.flags
	}
	return append(append([]string{n.binary}, args...), flags...)
}

// start starts the agent with a subcommand.
func (n *labNode) start(args ...string) {
	n.Helper()
	n.proc = n.spawn(n.name, append(n.as, n.argv(args...)...)...)
}

// up starts the agent.
func (n *labNode) up() { n.Helper(); n.start("up") }

// keep stores a join token in a file that the agent can read, and returns the value for
// --join.
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

// restart kills the agent, so that it cannot store anything, and starts it again.
func (n *labNode) restart() {
	n.Helper()
	n.proc.end(n.T, syscall.SIGKILL)
	n.up()
}

// cli runs a command of wirespan on the node's host.
func (n *labNode) cli(args ...string) (string, error) { return n.exec(n.argv(args...)...) }

// mustCLI is cli for a command that must succeed.
func (n *labNode) mustCLI(args ...string) string {
	n.Helper()
	return n.mustExec(n.argv(args...)...)
}

// status asks the agent for its status.
func (n *labNode) status() (*agent.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.control.Status(ctx)
}

// mustStatus is status for an agent that must answer.
func (n *labNode) mustStatus() *agent.Status {
	n.Helper()
	s, err := n.status()
	if err != nil {
		n.Fatal(err)
	}
	return s
}

// peer returns the node's view of a peer.
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

// labSpec holds the fields of a peer spec that scenarios read.
type labSpec struct {
	Endpoints []netip.AddrPort `json:"endpoints"`
}

// labAffiliate holds the fields of an affiliate that scenarios read.
type labAffiliate struct {
	KubeSpan *labSpec `json:"kubespan"`
}

// resources returns the resources that `wirespan get` shows, by id. Each spec is decoded
// into T.
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

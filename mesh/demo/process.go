package demo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/mesh/control"
)

// process is one node of the demo.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    bytes.Buffer
	client *control.Client
	token  chan string // what it shows to join by, if it is the founder
	exited chan struct{}
}

// start runs one node: a founder without a token, otherwise one that joins.
func (m *running) start(name, token string) error {
	port, err := bind.FreePort()
	if err != nil {
		return err
	}
	dir := filepath.Join(m.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	cfg := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(cfg, []byte(fmt.Sprintf(configuration, port)), 0o600); err != nil {
		return err
	}
	socket := filepath.Join(dir, "s")
	p := &process{name: name, client: control.NewClient(socket), token: make(chan string, 1), exited: make(chan struct{})}
	args := []string{
		"-c", cfg, "--nodename", name, "--hostname", name, "--backend", "netstack",
		"--state-dir", "memory:" + dir, // /tmp may be a tmpfs
		"--control-socket", socket, "--listen-port", fmt.Sprint(port),
		"--discovery-listen", "127.0.0.1:0", "--port-mapping", "never",
	}
	if token != "" {
		args = append(args, "--join", "-")
	}
	p.cmd = exec.Command(m.Node[0], append(m.Node[1:len(m.Node):len(m.Node)], args...)...)
	p.cmd.Stdin, p.cmd.Stderr = bytes.NewBufferString(token), &p.log
	p.cmd.Stdout = &firstLine{to: p.token}
	p.cmd.Env = environment()
	// Ctrl-C is for the demo itself, and a demo that is killed takes its nodes along.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended shows in its log
		close(p.exited)
	}()
	m.nodes = append(m.nodes, p)
	role := "joins with the founder's token"
	if token == "" {
		role = "founds the mesh and runs the discovery server"
	}
	fmt.Fprintf(m.Out, "  %-6s UDP %d, %s\n", name, port, role)
	return nil
}

// firstLine is an output of which the first line matters.
type firstLine struct {
	to  chan string // takes one
	buf []byte
}

func (f *firstLine) Write(b []byte) (int, error) {
	if f.to != nil {
		f.buf = append(f.buf, b...)
		if line, _, complete := bytes.Cut(f.buf, []byte("\n")); complete {
			f.to <- string(line)
			f.to = nil
		}
	}
	return len(b), nil
}

// configuration announces the loopback address, which a real node never does.
const configuration = `apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
filters:
    endpoints: []
---
apiVersion: v1alpha1
kind: KubeSpanEndpointsConfig
extraAnnouncedEndpoints:
    - 127.0.0.1:%d
`

// environment leaves out what would change the nodes' settings.
func environment() []string {
	var out []string
	for _, v := range os.Environ() {
		if len(v) < 9 || v[:9] != "WIRESPAN_" {
			out = append(out, v)
		}
	}
	return out
}

// token waits for the founder's join token.
func (m *running) token(ctx context.Context) (string, error) {
	founder := m.nodes[0]
	select {
	case token := <-founder.token:
		return token, nil
	case <-founder.exited:
		return "", m.explain(fmt.Errorf("%s ended", founder.name))
	case <-ctx.Done():
		return "", m.explain(context.Cause(ctx))
	}
}

// waitForSocket waits until a node answers.
func (m *running) waitForSocket(ctx context.Context, p *process) error {
	for {
		_, err := p.client.Status(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended", p.name)
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// explain adds the nodes' logs to an error.
func (m *running) explain(err error) error {
	m.stop()
	for _, p := range m.nodes {
		fmt.Fprintf(m.Out, "\n--- log of %s ---\n%s", p.name, p.log.String())
	}
	return err
}

// stop ends all nodes; when it returns they have ended.
func (m *running) stop() {
	for _, p := range m.nodes {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range m.nodes {
		select {
		case <-p.exited:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.exited
		}
	}
}

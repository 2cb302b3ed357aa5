package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh/agent"
)

// TestContainer runs the image of make image with runc, that of other architectures under
// emulation.
func TestContainer(t *testing.T) {
	layout := os.Getenv("WIRESPAN_IMAGE")
	if layout == "" {
		t.Skip("runs by make container-test")
	}
	requireTools(t)
	sweep(t)
	binary := buildBinary(t)
	for arch, emulator := range map[string]string{"amd64": "qemu-x86_64-static", "arm64": "qemu-aarch64-static", "arm": "qemu-arm-static"} {
		if arch == runtime.GOARCH {
			emulator = ""
		}
		t.Run(arch, func(t *testing.T) {
			containerJoins(newLab(t, binary), layout, arch, emulator)
		})
	}
	t.Run("clients", func(t *testing.T) { containerClients(newLab(t, binary), layout, runtime.GOARCH) })
	t.Run("tun", func(t *testing.T) { containerTUN(newLab(t, binary), layout) })
}

// ready waits until the container's health check succeeds.
func (c *container) ready() {
	c.Helper()
	eventually(c.T, within, func() error {
		_, err := c.cli(c.uid, "status", "--check", "ready")
		return errors.Join(err, c.proc.running())
	})
}

// containerTUN checks that a node in a container with a TUN leads other programs of its
// network into the mesh.
func containerTUN(l *lab, layout string) {
	a := l.host("a").node("")
	token := a.found()
	web := a.web()
	c := l.host("c").imageContainer(layout, runtime.GOARCH, "", "WIRESPAN_NODENAME=c", "WIRESPAN_NO_CLOCK_FIX=true", "WIRESPAN_BACKEND=tun").privileged()
	c.join(token)
	c.ready()
	eventually(l.T, within, func() error {
		_, err := c.cli(c.uid, "wait", "a", "--timeout", "1s")
		return errors.Join(err, c.proc.running())
	})
	if out := c.mustExec("curl", "-sSf", "--max-time", "60", "-o", "/dev/null", "-w", "%{size_download}", "http://"+web.address+"/"); out != strconv.Itoa(downloadSize) {
		l.Errorf("download: %s bytes, want %d", out, downloadSize)
	}
}

// containerJoins checks that a node in a container joins, that programs beside it reach the
// mesh by name through its proxy, and that the mesh reaches a server beside it.
func containerJoins(l *lab, layout, arch, emulator string) {
	a := l.host("a").node("")
	token := a.found()
	web := a.web()
	c := l.host("c").imageContainer(layout, arch, emulator,
		"WIRESPAN_NODENAME=c", "WIRESPAN_NO_CLOCK_FIX=true", "WIRESPAN_IDENTITY_DIR=/etc/wirespan",
		"WIRESPAN_PROXY_LISTEN=1080", "WIRESPAN_MESH_FORWARDS=80:127.0.0.1:8080", "WIRESPAN_HEALTH_LISTEN=9090",
		"WIRESPAN_CONTROL_SOCKET_MODE=0666",
	)
	c.join(token)

	c.ready()
	// The socket is at its fixed path, where another user finds it, too.
	const stranger = 1000
	eventually(l.T, within, func() error {
		_, err := c.cli(stranger, "wait", "a", "--timeout", "1s")
		return errors.Join(err, c.proc.running())
	})
	var s agent.Status
	out, err := c.cli(stranger, "status", "-o", "json", "--control-socket", "/run/wirespan/wirespan.sock")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	if err != nil {
		l.Fatal(err)
	}
	if n := c.proc.count("[WARN]", "readable by others"); n > 0 {
		l.Errorf("%d warnings about files of the Secret", n)
	}
	if s.Backend != "netstack" || s.Node.Nodename != "c" {
		l.Errorf("the container's node is %q with data plane %s", s.Node.Nodename, s.Backend)
	}
	if out := c.mustExec("curl", "-sSf", "--max-time", "30", "http://127.0.0.1:9090/readyz"); strings.TrimSpace(out) != "ok" {
		l.Errorf("readyz: %q", out)
	}

	port := netip.MustParseAddrPort(web.address).Port()
	for _, flags := range [][]string{{"--socks5-hostname", "127.0.0.1:1080"}, {"-x", "http://127.0.0.1:1080"}} {
		started := time.Now()
		argv := append([]string{"curl", "-sSf", "--max-time", "60", "-o", "/dev/null", "-w", "%{size_download}"}, flags...)
		if out := c.mustExec(append(argv, fmt.Sprintf("http://a.mesh:%d/", port))...); out != strconv.Itoa(downloadSize) {
			l.Errorf("download %s: %s bytes, want %d", flags, out, downloadSize)
		}
		l.Logf("download of %d MiB %s took %s", downloadSize>>20, flags, time.Since(started).Round(time.Millisecond))
	}
	c.greets("127.0.0.1:8080")
	if out := a.mustExec("curl", "-sSf", "--max-time", "30", "http://"+net.JoinHostPort(s.Node.Address.String(), "80")+"/"); out != greeting {
		l.Errorf("from the server in the container: %q", out)
	}
}

const greeting = "hello"

// greets starts a web server on the host.
func (h *labHost) greets(address string) {
	h.Helper()
	var ln net.Listener
	err := h.inside(func() (err error) {
		ln, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, greeting) })}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // until Close
	}()
	h.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
}

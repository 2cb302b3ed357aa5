package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
)

// containerClients checks that programs which people use reach the mesh by way of an
// unprivileged container beside them, and the mesh what they serve.
func containerClients(l *lab, layout, arch string) {
	a := l.host("a").node("")
	token := a.found()
	far := a.mustStatus().Node.Address
	a.hello(netip.AddrPortFrom(far, 8000), "a")
	a.greetsTLS(netip.AddrPortFrom(far, 8443))
	for _, server := range []string{"5201", "5202"} {
		a.spawn("iperf3-"+server, "iperf3", "--server", "--bind", far.String(), "--port", server)
	}
	key := a.sshd(far)

	c := l.host("c").imageContainer(layout, arch, "", "WIRESPAN_NODENAME=c", "WIRESPAN_NO_CLOCK_FIX=true",
		"WIRESPAN_PROXY_LISTEN=1080", "WIRESPAN_DNS_LISTEN=5300", "WIRESPAN_CONTROL_SOCKET_MODE=0666",
		"WIRESPAN_LOCAL_FORWARDS=8081:a:8000 5201:a:5201 5202:a:5202 5202:a:5202/udp", "WIRESPAN_MESH_FORWARDS=80:127.0.0.1:8080")
	c.join(token)
	c.ready()
	nc := fmt.Sprintf("%s nc --control-socket %s %%h %%p", l.binary, filepath.Join(c.dir, c.name+"-run", "wirespan", "wirespan.sock"))
	for _, run := range []struct {
		name string
		want string
		argv []string
	}{
		{"curl, SOCKS5", "hello from a", []string{"curl", "-sS", "-m", "20", "--socks5-hostname", "127.0.0.1:1080", "http://a.mesh:8000/"}},
		{"curl, SOCKS5, https", "hello by TLS", []string{"curl", "-ksS", "-m", "20", "--socks5-hostname", "127.0.0.1:1080", "https://a.mesh:8443/"}},
		{"curl, HTTP", "hello from a", []string{"curl", "-sS", "-m", "20", "-x", "http://127.0.0.1:1080", "http://a.mesh:8000/"}},
		{"curl, HTTP, https", "hello by TLS", []string{"curl", "-ksS", "-m", "20", "-x", "http://127.0.0.1:1080", "https://a.mesh:8443/"}},
		{"curl, forward", "hello from a", []string{"curl", "-sS", "-m", "20", "http://127.0.0.1:8081/"}},
		{"dig", far.String(), []string{"dig", "@127.0.0.1", "-p", "5300", "+short", "AAAA", "a.mesh"}},
		{"dig -x", "a.mesh.", []string{"dig", "@127.0.0.1", "-p", "5300", "+short", "-x", far.String()}},
		{"DNS by UDP ASSOCIATE", "a.mesh", []string{"/usr/bin/python3", "-c", socksDNS}},
		{"iperf3", "receiver", []string{"iperf3", "-c", "127.0.0.1", "-p", "5201", "-t", "2"}},
		{"iperf3, UDP", "receiver", []string{"iperf3", "-c", "127.0.0.1", "-p", "5202", "-t", "2", "-u", "-b", "20M", "-l", "1200"}},
		{"ssh", "logged in", []string{
			"ssh", "-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-o", "ProxyCommand=" + nc, "root@a", "echo logged in",
		}},
		{"chromium", "hello from a", []string{
			"chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + filepath.Join(l.dir, "chromium"),
			"--proxy-server=socks5://127.0.0.1:1080", "--dump-dom", "http://a.mesh:8000/",
		}},
		{"Python requests", "hello from a hello from a", []string{"/usr/bin/python3", "-c", pythonRequests}},
		{"Node http", "hello from a", []string{"node", "-e", nodeHTTP}},
		{"Node fetch", "hello from a", []string{"node", "-e", `fetch("http://127.0.0.1:8081/").then(r => r.text()).then(t => process.stdout.write(t))`}},
	} {
		out, err := c.exec(run.argv...)
		if err != nil || !strings.Contains(out, run.want) {
			l.Errorf("%s: %v\n%s", run.name, err, out)
			continue
		}
		l.Logf("%s: %s", run.name, lastLine(out, run.want))
	}
	c.greets("127.0.0.1:8080")
	near, err := a.control.Lookup(l.Context(), "c")
	if err != nil {
		l.Fatal(err)
	}
	if out := a.mustExec("curl", "-sSf", "-m", "30", "http://["+near[0].String()+"]/"); out != greeting {
		l.Errorf("from the server beside the container: %q", out)
	}
}

const (
	// socksDNS asks the DNS server of the other node for a name, by UDP through the proxy.
	socksDNS = `
import socks, struct
s = socks.socksocket(socks.socket.AF_INET, socks.socket.SOCK_DGRAM)
s.set_proxy(socks.SOCKS5, "127.0.0.1", 1080, rdns=True)
s.settimeout(10)
q = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\x01a\x04mesh\x00" + struct.pack(">HH", 28, 1)
s.sendto(q, ("a.mesh", 53))
r, _ = s.recvfrom(2000)
assert r[:2] == q[:2] and struct.unpack(">H", r[6:8])[0] >= 1, r
print("a.mesh has", r[-16:].hex())
`
	pythonRequests = `
import requests
for p in ("socks5h://127.0.0.1:1080", "http://127.0.0.1:1080"):
    print(requests.get("http://a.mesh:8000/", proxies={"http": p}, timeout=20).text.strip(), end=" ")
`
	nodeHTTP = `require("http").get({host: "127.0.0.1", port: 1080, path: "http://a.mesh:8000/"}, r => r.pipe(process.stdout))`
)

// greetsTLS serves HTTPS on the host.
func (n *labNode) greetsTLS(at netip.AddrPort) {
	n.Helper()
	var l net.Listener
	if err := n.inside(func() (err error) { l, err = net.Listen("tcp", at.String()); return err }); err != nil {
		n.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello by TLS") }))
	_ = s.Listener.Close()
	s.Listener, s.TLS = l, &tls.Config{MinVersion: tls.VersionTLS12}
	s.StartTLS()
	n.Cleanup(s.Close)
}

// sshd runs an SSH server at an address, and returns the path of a key that it takes.
func (n *labNode) sshd(at netip.Addr) (key string) {
	n.Helper()
	key, host := filepath.Join(n.dir, "key"), filepath.Join(n.dir, "hostkey")
	for _, path := range []string{key, host} {
		n.mustExec("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
	}
	n.mustExec("mkdir", "-p", "/run/sshd")
	n.spawn("sshd", "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", host, "-o", "ListenAddress=["+at.String()+"]:22",
		"-o", "AuthorizedKeysFile="+key+".pub", "-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PidFile=none")
	return key
}

// lastLine returns the last line of a program's output that has a text.
func lastLine(out, want string) (line string) {
	for l := range strings.Lines(out) {
		if strings.Contains(l, want) {
			line = strings.TrimSpace(l)
		}
	}
	return line
}

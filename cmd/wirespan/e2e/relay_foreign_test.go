package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// scenarioRelayForeign checks that nodes whom no direct path joins meet by a relay that is no
// member, coturn: one uses it by TCP, one by TLS, and one by UDP. Status names it.
func scenarioRelayForeign(l *lab) {
	l.isPublic()
	p, turn := l.host("p").node(""), l.host("co")
	certificate := turn.turnserver("user", "a password")
	a, b, c := l.relayed("a", natUDPBlocked), l.relayed("b", natUDPBlocked), l.relayed("c", natSymmetric)
	b.as = []string{"env", "SSL_CERT_FILE=" + certificate}
	uris := map[*labNode]string{
		a: "turn:" + turn.address + ":3478?transport=tcp",
		b: "turns:" + turn.address + ":5349",
		c: "turn:" + turn.address + ":3478",
	}
	token := p.found()
	nodes := []*labNode{a, b, c}
	for _, n := range nodes {
		if err := os.WriteFile(n.path("password"), []byte("a password\n"), 0o600); err != nil {
			l.Fatal(err)
		}
		n.configure(settings(fmt.Sprintf("relayServers: [%q]", uris[n]), "relayUser: user", "relayPasswordFile: "+n.path("password")))
		n.join(token)
	}
	l.allUp(p, a, b, c)
	a.serveFlows()
	transports := map[*labNode]string{a: "tcp", b: "tls", c: "udp"}
	for _, n := range nodes {
		eventually(l.T, within, func() error { return n.usesForeign(uris[n], transports[n]) })
		for _, other := range nodes {
			if n != other {
				eventually(l.T, within, func() error { return relayedOnly(n, other, true) })
				n.pings(other)
			}
		}
	}
	for _, n := range []*labNode{b, c} {
		n.stream(fmt.Sprintf("[%s]:%d", a.mustStatus().Node.Address, flowPort), a.proc, n.proc)
		n.pingsWhole(a.mustStatus().Node.Address)
		view, err := a.peer(n.name)
		if named := []string{uris[a], "relay " + turn.address}; err != nil || !slices.Contains(named, view.Relay) {
			l.Errorf("%s is reached by %q: %v", n.name, view.Relay, err)
		}
		if out := a.mustCLI("ping", n.name, "--count", "1"); !strings.Contains(out, "via "+view.Relay) {
			l.Errorf("ping does not name the relay: %s", out)
		}
	}
	if out := a.mustCLI("status"); !strings.Contains(out, uris[a]) {
		l.Errorf("status does not name the server: %s", out)
	}
	for n, want := range map[*labNode]bool{a: true, c: false} {
		eventually(l.T, within, func() error { return relayedOnly(n, p, want) })
		n.pings(p)
	}
}

// usesForeign returns an error unless the node has an address at a server, and uses it alone.
func (n *labNode) usesForeign(uri, transport string) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	if len(s.Relays) != 1 || s.Relays[0].Relay != uri || s.Relays[0].Transport != transport || !s.Relays[0].Relayed.IsValid() || s.Relays[0].Error != "" {
		return fmt.Errorf("%s uses %+v, want %s by %s", n.name, s.Relays, uri, transport)
	}
	return nil
}

// turnserver runs coturn as a TURN server on the host. It returns the file of the certificate by which TLS is verified.
func (h *labHost) turnserver(user, password string) (certificate string) {
	h.Helper()
	certificate, key := filepath.Join(h.dir, "cert.pem"), filepath.Join(h.dir, "key.pem")
	h.certify(certificate, key)
	process := h.spawn("turnserver", "turnserver", "-n", "--listening-ip", h.address, "--relay-ip", h.address, "--realm", "example.org",
		"--lt-cred-mech", "--user", user+":"+password, "--no-cli", "--log-file", "stdout", "--simple-log", "--proc-user", "root", "--proc-group", "root",
		"--pidfile", filepath.Join(h.dir, "turn.pid"), "--userdb", filepath.Join(h.dir, "turn.db"), "--cert", certificate, "--pkey", key)
	eventually(h.T, within, func() error {
		conn, err := h.dial(context.Background(), "tcp", h.address+":5349")
		if err != nil {
			return errors.Join(err, process.running())
		}
		return conn.Close()
	})
	return certificate
}

// certify writes a certificate of the host's address, and its key.
func (h *labHost) certify(certificate, key string) {
	h.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(h.address)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		h.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		h.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o644); err != nil {
			h.Fatal(err)
		}
	}
}

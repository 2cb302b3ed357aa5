package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// adminToken is the token of a member of system:masters.
const adminToken = "admin"

// auditPolicy has the API server log the requests of agents.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, users: ["system:serviceaccount:wirespan:wirespan"]}
  - {level: None}
`

// kubernetes is the API of a cluster: etcd and kube-apiserver on a host, without a kubelet or a
// controller. Nodes and pods are there if the test makes them.
type kubernetes struct {
	*labHost
	programs string // folder of both
	files    string
	pem      []byte // its certificate
	client   *http.Client
	etcd     *labProcess
	server   *labProcess
	audited  int // bytes of the log of requests that the test has read
}

// kubernetes starts the API with the programs that `make test-kubernetes` builds. A kubelet may
// be on each of the machines: its token is kubelet-NAME.
func (h *labHost) kubernetes(programs string, machines ...string) *kubernetes {
	h.Helper()
	k := &kubernetes{labHost: h, programs: programs, files: filepath.Join(h.dir, h.name)}
	if err := os.Mkdir(k.files, 0o700); err != nil {
		h.Fatal(err)
	}
	k.makeKeys()
	users := adminToken + `,admin,1,"system:masters"` + "\n"
	for _, name := range machines {
		users += fmt.Sprintf("kubelet-%s,system:node:%s,%s,\"system:nodes\"\n", name, name, name)
	}
	k.write("users", []byte(users))
	k.write("audited", []byte(auditPolicy))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(k.pem)
	k.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: h.dial, TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
	}}
	h.Cleanup(k.client.CloseIdleConnections)
	k.etcd = k.spawn("etcd", filepath.Join(programs, "etcd"), "--data-dir", k.path("data"), "--log-level", "warn",
		"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "http://127.0.0.1:2380", "--initial-advertise-peer-urls", "http://127.0.0.1:2380",
		"--initial-cluster", "default=http://127.0.0.1:2380", "--unsafe-no-fsync")
	k.start()
	return k
}

func (k *kubernetes) path(file string) string { return filepath.Join(k.files, file) }

func (k *kubernetes) write(file string, data []byte) {
	k.Helper()
	if err := os.WriteFile(k.path(file), data, 0o600); err != nil {
		k.Fatal(err)
	}
}

// makeKeys makes the key that signs tokens of service accounts, and the certificate of the API.
func (k *kubernetes) makeKeys() {
	k.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		k.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.ParseIP(k.address)}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		k.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		k.Fatal(err)
	}
	k.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	k.write("certificate", k.pem)
	k.write("key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// start starts the API server and waits until it is ready.
func (k *kubernetes) start() {
	k.Helper()
	k.server = k.spawn("kube-apiserver", filepath.Join(k.programs, "kube-apiserver"), "--etcd-servers", "http://127.0.0.1:2379",
		"--bind-address", k.address, "--secure-port", "6443", "--cert-dir", k.files,
		"--tls-cert-file", k.path("certificate"), "--tls-private-key-file", k.path("key"),
		"--token-auth-file", k.path("users"), "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", k.path("certificate"),
		"--service-account-signing-key-file", k.path("key"), "--service-cluster-ip-range", "10.96.0.0/16",
		"--endpoint-reconciler-type", "none", "--audit-policy-file", k.path("audited"), "--audit-log-path", k.path("audit"))
	eventually(k.T, 2*time.Minute, func() error {
		if err := k.etcd.running(); err != nil {
			return err
		}
		if err := k.server.running(); err != nil {
			k.Fatal(err)
		}
		a, err := k.call(adminToken, http.MethodGet, "/readyz", "", nil)
		if err == nil {
			err = a.is(http.StatusOK)
		}
		return err
	})
}

// stop ends the API server, and with it all watches.
func (k *kubernetes) stop() {
	k.Helper()
	k.server.end(k.T, syscall.SIGKILL)
}

// compact makes etcd forget all revisions but the last one, so that nobody can continue a watch
// from an earlier one.
func (k *kubernetes) compact() {
	k.Helper()
	var status struct {
		Header struct{ Revision string }
	}
	k.askEtcd("maintenance/status", map[string]any{}, &status)
	k.askEtcd("kv/compaction", map[string]any{"revision": status.Header.Revision, "physical": true}, nil)
}

func (k *kubernetes) askEtcd(what string, question, answer any) {
	k.Helper()
	body, err := json.Marshal(question)
	if err != nil {
		k.Fatal(err)
	}
	response, err := k.client.Post("http://127.0.0.1:2379/v3/"+what, "application/json", bytes.NewReader(body))
	if err != nil {
		k.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		k.Fatalf("etcd: %s: %s, %v: %s", what, response.Status, err, data)
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			k.Fatal(err)
		}
	}
}

package kubernetes

import (
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http/httpproxy"
)

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKubeconfig(t *testing.T) {
	const secret = "c2VjcmV0LXZhbHVl"
	file := func(server, cluster, user string) string {
		return `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}],
clusters: [{name: k, cluster: {server: "` + server + `"` + cluster + `}}], users: [{name: u, user: {` + user + `}}]}`
	}
	for name, test := range map[string]struct{ text, want string }{
		"token":           {file("https://api:6443", "", "token: "+secret), ""},
		"no user":         {file("https://api:6443", "", ""), ""},
		"not YAML":        {"token: " + secret + "\n\t- {", "is not a kubeconfig"},
		"empty":           {"", `no context ""`},
		"no context":      {strings.Replace(file("https://a", "", ""), "current-context: c", "current-context: d", 1), `no context "d"`},
		"no cluster":      {strings.Replace(file("https://a", "", ""), "cluster: k", "cluster: z", 1), `no cluster "z"`},
		"no URL":          {file("api:6443", "", ""), "is not a URL"},
		"no URL, a user":  {file("ftp://u:"+secret+"@api", "", ""), "is not a URL"},
		"user":            {file("https://u:"+secret+"@api:6443", "", ""), "has a user in its URL"},
		"plaintext":       {file("http://api", "", "token: "+secret), "would be sent in plaintext"},
		"exec":            {file("https://a", "", "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws-login, interactiveMode: Never}"), "credential plugin (exec: aws-login)"},
		"auth provider":   {file("https://a", "", "auth-provider: {name: gcp}"), "auth-provider"},
		"password":        {file("https://a", "", "username: a, password: "+secret), "has a password"},
		"impersonation":   {file("https://a", "", "as: root"), "impersonates"},
		"bad CA":          {file("https://a", ", certificate-authority-data: "+secret, ""), "certificate-authority: no certificate"},
		"missing CA":      {file("https://a", ", certificate-authority: ca.crt", ""), "certificate-authority: open "},
		"bad certificate": {file("https://a", "", "client-certificate-data: "+secret+", client-key-data: "+secret), "client-certificate and client-key"},
		"bad proxy":       {file("https://a", `, proxy-url: "://u:`+secret+`@"`, ""), "proxy-url"},
	} {
		path := writeFile(t, t.TempDir(), "kubeconfig", test.text)
		a, err := loadKubeconfig(path)
		switch {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		case err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "secret-value")):
			t.Errorf("%s: the error has the secret: %v", name, err)
		case err == nil && (a.tls == nil || a.server.Host != "api:6443"):
			t.Errorf("%s: %+v", name, a)
		}
	}
	if _, err := loadKubeconfig(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "kubernetes.kubeconfig: open ") {
		t.Errorf("no file: %v", err)
	}
}

// The kubelet replaces the token of a pod while the agent runs.
func TestTokenRotates(t *testing.T) {
	now := time.Now()
	path := writeFile(t, t.TempDir(), "token", "one\n")
	tok := token{file: path}
	for _, step := range []struct {
		text string
		at   time.Duration
		want string
	}{{"one\n", 0, "one"}, {"two\n", time.Second, "one"}, {"two\n", 2 * time.Minute, "two"}} {
		writeFile(t, filepath.Dir(path), "token", step.text)
		if got, err := tok.get(now.Add(step.at)); got != step.want || err != nil {
			t.Errorf("after %v: token %q, error %v; want %q", step.at, got, err, step.want)
		}
	}
	writeFile(t, filepath.Dir(path), "token", "")
	if _, err := tok.get(now.Add(time.Hour)); err == nil {
		t.Error("an empty token is taken")
	}
}

func TestServiceAccount(t *testing.T) {
	var authorization atomic.Value
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization.Store(r.Header.Get("Authorization"))
		http.Redirect(w, r, "https://elsewhere.example.org/", http.StatusFound)
	}))
	t.Cleanup(api.Close)
	host, port, _ := strings.Cut(api.Listener.Addr().String(), ":")
	dir := t.TempDir()
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := loadServiceAccount(dir); err == nil || !strings.Contains(err.Error(), "kubernetes.kubeconfig") {
		t.Errorf("not in a pod: %v", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", host)
	t.Setenv("KUBERNETES_SERVICE_PORT", port)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}))
	writeFile(t, dir, "ca.crt", ca)
	if _, err := loadServiceAccount(dir); err == nil || !strings.Contains(err.Error(), "automountServiceAccountToken") {
		t.Errorf("no token: %v", err)
	}
	writeFile(t, dir, "token", "abc\n")
	a, err := loadServiceAccount(dir)
	if err != nil {
		t.Fatal(err)
	}
	a.proxy = httpproxy.FromEnvironment().ProxyFunc()
	conns := &connections{dial: newDialer(nil), open: map[*connection]bool{}}
	client, closeIdle, err := newREST(a, conns, "wirespan/test")
	if err != nil {
		t.Fatal(err)
	}
	defer closeIdle()
	c := &Client{cfg: Config{Node: "own"}}
	if _, err := c.get(t.Context(), client); err == nil {
		t.Error("a redirect is followed")
	}
	if got := authorization.Load(); got != "Bearer abc" {
		t.Errorf("authorization %q", got)
	}
	if !conns.server().IsLoopback() {
		t.Errorf("server %v", conns.server())
	}
}

// What is wrong with TLS is named.
func TestTLSErrors(t *testing.T) {
	api := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(api.Close)
	plaintext := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plaintext.Close)
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}))
	for name, test := range map[string]struct{ cluster, want string }{
		"unknown authority": {`server: "` + api.URL + `"`, "not signed by the certificate authority"},
		"another name":      {`server: "` + api.URL + `", tls-server-name: api.test, certificate-authority-data: ` + ca, "is for another name"},
		"no TLS":            {`server: "https` + strings.TrimPrefix(plaintext.URL, "http") + `"`, "does not speak TLS"},
		"no such host":      {`server: "https://api.invalid"`, "can't be looked up"},
		"another server":    {`server: "` + api.URL + `", certificate-authority-data: ` + ca, "is this the address of a Kubernetes API server?"},
	} {
		path := writeFile(t, t.TempDir(), "kubeconfig", `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: k}}], clusters: [{name: k, cluster: {`+test.cluster+`}}]}`)
		c := newClient(t, &fakeAPI{}, func(c *Config) { c.Kubeconfig = path })
		c.conns.dial = newDialer(nil)
		a, err := c.load()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		client, closeIdle, err := newREST(a, c.conns, "wirespan/test")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = c.get(t.Context(), client)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
		closeIdle()
	}
}

// A server that repeats the token, as a proxy may that shows a request's header, does not
// make it known to others.
func TestTokenRepeated(t *testing.T) {
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.Header.Get("Authorization"), http.StatusBadGateway)
	}))
	t.Cleanup(api.Close)
	const token = "secret-token"
	user := "token: " + token
	for _, in := range []string{"kubeconfig", "file"} {
		dir := t.TempDir()
		if in == "file" {
			user = "tokenFile: token"
			writeFile(t, dir, "token", token+"\n")
		}
		path := writeFile(t, dir, "kubeconfig", `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}],
clusters: [{name: k, cluster: {server: "`+api.URL+`", insecure-skip-tls-verify: true}}], users: [{name: u, user: {`+user+`}}]}`)
		c := newClient(t, &fakeAPI{}, func(c *Config) { c.Kubeconfig = path })
		c.conns.dial = newDialer(nil)
		a, err := c.load()
		if err != nil {
			t.Fatal(err)
		}
		client, closeIdle, err := newREST(a, c.conns, "wirespan/test")
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.get(t.Context(), client)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", in, err)
		}
		closeIdle()
	}
}

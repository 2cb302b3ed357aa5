package kubernetes

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// serviceAccountDir is where a pod finds the credentials of its service account.
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// tokenLifetime is how long a token is used before its file is read again: the kubelet
// replaces it while the old one is still valid.
const tokenLifetime = time.Minute

// access is where the API is, and with what this node gets in.
type access struct {
	server *url.URL
	tls    *tls.Config // nil: plaintext
	proxy  func(*url.URL) (*url.URL, error)
	token  token
}

// InCluster reports whether this process is in a pod that has a service account.
func InCluster() bool {
	_, err := os.Stat(filepath.Join(serviceAccountDir, "token"))
	return err == nil && os.Getenv("KUBERNETES_SERVICE_HOST") != "" && os.Getenv("KUBERNETES_SERVICE_PORT") != ""
}

// load reads what the configuration names.
func (c *Client) load() (a *access, err error) {
	if c.cfg.Kubeconfig != "" {
		a, err = loadKubeconfig(c.cfg.Kubeconfig)
	} else {
		a, err = loadServiceAccount(serviceAccountDir)
	}
	if err != nil {
		return nil, err
	}
	if a.proxy == nil {
		a.proxy = httpproxy.FromEnvironment().ProxyFunc()
	}
	c.mu.Lock()
	c.token = &a.token
	c.mu.Unlock()
	return a, nil
}

// loadServiceAccount returns the access of a pod.
func loadServiceAccount(dir string) (*access, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("not in a pod (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set): set kubernetes.kubeconfig")
	}
	ca := filepath.Join(dir, "ca.crt")
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("certificate authority of the service account: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificate authority of the service account: no certificate in %s", ca)
	}
	a := &access{
		server: &url.URL{Scheme: "https", Host: net.JoinHostPort(host, port)},
		tls:    &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		token:  token{file: filepath.Join(dir, "token")},
	}
	if _, err := a.token.get(time.Now()); err != nil {
		return nil, fmt.Errorf("%w (does the pod have automountServiceAccountToken: true?)", err)
	}
	return a, nil
}

// CheckKubeconfig returns an error unless a file is a kubeconfig that a client can use.
func CheckKubeconfig(path string) error {
	_, err := loadKubeconfig(path)
	return err
}

// loadKubeconfig returns the access of the current context of a kubeconfig.
func loadKubeconfig(path string) (*access, error) {
	f, err := clientcmd.LoadFromFile(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("kubernetes.kubeconfig: %w", err)
	}
	if err != nil { // it may quote the file, with its secrets
		return nil, fmt.Errorf("kubernetes.kubeconfig: %s is not a kubeconfig", path)
	}
	a, err := fromKubeconfig(f, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("kubernetes.kubeconfig: %s: %w", path, err)
	}
	return a, nil
}

func fromKubeconfig(f *api.Config, dir string) (*access, error) {
	context := f.Contexts[f.CurrentContext]
	if context == nil {
		return nil, fmt.Errorf("no context %.100q: set current-context to one of the file's", f.CurrentContext)
	}
	cluster, user := f.Clusters[context.Cluster], f.AuthInfos[context.AuthInfo]
	if cluster == nil {
		return nil, fmt.Errorf("no cluster %.100q, which the current context names", context.Cluster)
	}
	if user == nil {
		user = api.NewAuthInfo()
	}
	a := &access{}
	var err error
	if a.server, err = url.Parse(cluster.Server); err != nil || a.server.Host == "" || a.server.Scheme != "https" && a.server.Scheme != "http" {
		return nil, errors.New("server of the cluster is not a URL with https:// or http://") // which may have a password
	}
	if a.server.User != nil {
		return nil, errors.New("server of the cluster has a user in its URL: use a token or a client certificate")
	}
	if a.server.Scheme == "https" {
		if a.tls, err = clusterTLS(cluster, dir); err != nil {
			return nil, err
		}
	}
	if cluster.ProxyURL != "" {
		via, err := url.Parse(cluster.ProxyURL)
		if err != nil || via.Host == "" { // the text of err may contain a password
			return nil, errors.New("proxy-url of the cluster is not a URL")
		}
		a.proxy = func(*url.URL) (*url.URL, error) { return via, nil }
	}
	return a, a.setUser(user, dir)
}

func clusterTLS(cluster *api.Cluster, dir string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cluster.TLSServerName, InsecureSkipVerify: cluster.InsecureSkipTLSVerify}
	pem, err := dataOrFile(cluster.CertificateAuthorityData, cluster.CertificateAuthority, dir)
	if err != nil {
		return nil, fmt.Errorf("certificate-authority: %w", err)
	}
	if len(pem) > 0 {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("certificate-authority: no certificate in it")
		}
	}
	return cfg, nil
}

// setUser takes the credentials. Programs that print credentials are not run: an agent with
// the privileges of a network daemon executes nothing that a file names.
func (a *access) setUser(user *api.AuthInfo, dir string) error {
	switch {
	case user.Exec != nil:
		return fmt.Errorf("the user has a credential plugin (exec: %.100s), which the agent does not run: make a kubeconfig with a token of the service account instead, see docs/kubernetes.md", user.Exec.Command)
	case user.AuthProvider != nil:
		return errors.New("the user has an auth-provider, which Kubernetes has removed: use a token or a client certificate")
	case user.Username != "" || user.Password != "":
		return errors.New("the user has a password, which Kubernetes does not accept any more: use a token or a client certificate")
	case user.Impersonate != "" || user.ImpersonateUID != "" || len(user.ImpersonateGroups) > 0 || len(user.ImpersonateUserExtra) > 0:
		return errors.New("the user impersonates another one, which the agent does not support: use a token of the service account")
	case (user.Token != "" || user.TokenFile != "") && a.tls == nil:
		return errors.New("the server has http://: the token would be sent in plaintext")
	}
	a.token = token{fixed: user.Token}
	if user.TokenFile != "" {
		a.token = token{file: absolute(user.TokenFile, dir)}
	}
	cert, err := dataOrFile(user.ClientCertificateData, user.ClientCertificate, dir)
	if err != nil {
		return fmt.Errorf("client-certificate: %w", err)
	}
	key, err := dataOrFile(user.ClientKeyData, user.ClientKey, dir)
	if err != nil {
		return fmt.Errorf("client-key: %w", err)
	}
	if len(cert) == 0 && len(key) == 0 || a.tls == nil {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("client-certificate and client-key: %w", err)
	}
	a.tls.Certificates = []tls.Certificate{pair}
	return nil
}

func dataOrFile(data []byte, path, dir string) ([]byte, error) {
	if len(data) > 0 || path == "" {
		return data, nil
	}
	return os.ReadFile(absolute(path, dir))
}

func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// token is a bearer token, or the file that it is in.
type token struct {
	fixed, file string

	mu   sync.Mutex
	last string
	read time.Time
}

// get returns the token, or "" if there is none.
func (t *token) get(now time.Time) (string, error) {
	if t.file == "" {
		return t.fixed, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last != "" && now.Sub(t.read) < tokenLifetime {
		return t.last, nil
	}
	b, err := os.ReadFile(t.file)
	if err != nil {
		return "", fmt.Errorf("token of the service account: %w", err)
	}
	if t.last = strings.TrimSpace(string(b)); t.last == "" {
		return "", fmt.Errorf("token of the service account: %s is empty", t.file)
	}
	t.read = now
	return t.last, nil
}

// hidden returns a text without the token, which a server may repeat.
func (t *token) hidden(text string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, secret := range []string{t.fixed, t.last} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "(private)")
		}
	}
	return text
}

// authorized adds the token to requests.
type authorized struct {
	next http.RoundTripper
	a    *access
}

func (t authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := t.a.token.get(time.Now())
	if err != nil {
		return nil, err
	}
	if token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return t.next.RoundTrip(r)
}

package kubernetes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
)

// manifest grants what the client needs.
const manifest = "deploy/kubernetes/access.yaml"

// failure is an error of the API with what to do about it.
type failure struct {
	text string
	err  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// explain returns an error that says what was being done, what is wrong, and what to do. The
// server's text is untrusted and cut to one printable line.
func (c *Client) explain(verb string, err error) error {
	doing := verb + " nodes"
	if verb == "get" || verb == "patch" {
		doing = fmt.Sprintf("%s Node %q", verb, c.cfg.Node)
	}
	return &failure{"Kubernetes API: " + doing + ": " + c.reason(verb, err), err}
}

func (c *Client) reason(verb string, err error) string {
	said := clean(c.hidden(message(err)))
	switch {
	case apierrors.IsUnauthorized(err):
		return "the credentials are not accepted (401): the token or certificate is expired, revoked or of another cluster; renew " + c.credentials()
	case apierrors.IsForbidden(err) && strings.Contains(said, "denied request"), apierrors.IsInvalid(err) && verb == "patch":
		return "an admission policy refuses it: " + said + " (kubernetes.nodename must be the Node of this machine, and the token that of a pod on it)"
	case apierrors.IsForbidden(err):
		return fmt.Sprintf(`verb %q on resource "nodes" is not granted to this identity: apply %s, or grant get, list, watch and patch on nodes (%s)`, verb, manifest, said)
	case apierrors.IsNotFound(err) && (verb == "get" || verb == "patch") && strings.Contains(said, fmt.Sprintf("nodes %q not found", c.cfg.Node)):
		return "there is no such Node: set kubernetes.nodename (in a pod, NODE_NAME from spec.nodeName) to a name that kubectl get nodes shows"
	case apierrors.IsNotFound(err):
		return "not found: is this the address of a Kubernetes API server? (" + said + ")"
	case redirects(err):
		return "the server redirects to another address, which the agent does not follow: is this the address of a Kubernetes API server? (" + said + ")"
	case foreign(err):
		return "the answer is not one of a Kubernetes API server: is this its address? (" + said + ")"
	}
	return transportReason(err, said)
}

// transportReason explains what happened before the API answered.
func transportReason(err error, said string) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.As(err, &unknown):
		return "TLS: the server's certificate is not signed by the certificate authority of the kubeconfig or service account: " + said
	case errors.As(err, &name):
		return "TLS: the server's certificate is for another name: set tls-server-name in the kubeconfig, or use the name that it has: " + said
	case errors.As(err, &invalid):
		return "TLS: the server's certificate is not valid (compare this machine's clock): " + said
	case errors.As(err, &alert):
		return "TLS: the server refuses the connection, as for a client certificate that is expired: " + said
	case errors.As(err, &record), strings.Contains(said, "server gave HTTP response to HTTPS client"):
		return "TLS: the server does not speak TLS: is this the address of a Kubernetes API server?"
	case errors.As(err, &dns):
		return "the server's name can't be looked up: " + said
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return said
}

func (c *Client) credentials() string {
	if c.cfg.Kubeconfig != "" {
		return c.cfg.Kubeconfig
	}
	return "the service account's token (" + serviceAccountDir + ")"
}

// hidden returns a text without the token that is used.
func (c *Client) hidden(text string) string {
	c.mu.Lock()
	t := c.token
	c.mu.Unlock()
	if t == nil {
		return text
	}
	return t.hidden(text)
}

// message returns what the server said, or what an error says.
func message(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		s := status.Status()
		text := s.Message
		if s.Details != nil && s.Code != http.StatusForbidden && s.Code != http.StatusUnprocessableEntity {
			for _, cause := range s.Details.Causes { // the body of an answer that is no Status
				text += ": " + cause.Message
			}
		}
		return text
	}
	var request *url.Error
	if errors.As(err, &request) {
		return request.Err.Error() // without the URL, which is long
	}
	return err.Error()
}

func redirects(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code/100 == 3
}

// foreign reports whether an answer without an error is not what was asked for, as the page
// of a login is not.
func foreign(err error) bool {
	if runtime.IsNotRegisteredError(err) || runtime.IsMissingKind(err) {
		return true
	}
	for _, text := range []string{"couldn't get version/kind", "serializer for ", "no stream serializers registered "} { // of client-go
		if strings.HasPrefix(err.Error(), text) {
			return true
		}
	}
	return false
}

// stale reports whether an error may go away when the credentials are read again.
func stale(err error) bool {
	var unknown x509.UnknownAuthorityError
	var alert tls.AlertError
	return apierrors.IsUnauthorized(err) || errors.As(err, &unknown) || errors.As(err, &alert)
}

func clean(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), 400)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

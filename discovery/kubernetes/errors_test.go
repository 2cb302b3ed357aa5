package kubernetes

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wirespan/wirespan/discovery"
)

// A missing verb is named together with what grants it.
func TestForbidden(t *testing.T) {
	for _, verb := range []string{"get", "list", "watch", "patch"} {
		t.Run(verb, func(t *testing.T) {
			bubble(t, func(t *testing.T, api *fakeAPI) {
				api.set("own", nil)
				api.setRefuse(func(v string, w http.ResponseWriter) bool {
					if v != verb && (verb != "list" || v != "watch") {
						return false
					}
					status(w, 403, "Forbidden", `nodes is forbidden: User "x" cannot `+v+` resource "nodes"`)
					return true
				})
				c := newClient(t, api)
				if verb == "get" { // else the watch shows the Node
					api.remove("own")
				}
				run(t, c)
				c.Publish(discovery.Local{Affiliate: affiliate(1)})
				settle(10 * time.Second)
				err := c.Snapshot().LastError
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("verb %q on resource \"nodes\"", verb)) || !strings.Contains(err.Error(), manifest) {
					t.Errorf("error %v", err)
				}
				pull := verb == "list" || verb == "watch"
				if s := c.Snapshot(); s.Published != pull || s.Connected == pull {
					t.Errorf("published %v, connected %v", s.Published, s.Connected)
				}
				api.setRefuse(nil)
				api.set("own", nil)
				settle(3 * time.Minute)
				if s := c.Snapshot(); s.LastError != nil || !s.Connected || !s.Published {
					t.Errorf("after the grant: error %v, connected %v, published %v", s.LastError, s.Connected, s.Published)
				}
			})
		})
	}
}

func TestExplained(t *testing.T) {
	for name, test := range map[string]struct {
		refuse func(verb string, w http.ResponseWriter) bool
		node   string
		want   string
	}{
		"token": {func(_ string, w http.ResponseWriter) bool {
			status(w, 401, string(metav1.StatusReasonUnauthorized), "no")
			return true
		}, "own", "credentials are not accepted"},
		"no such Node": {nil, "elsewhere", `get Node "elsewhere": there is no such Node: set kubernetes.nodename`},
		"policy": {func(verb string, w http.ResponseWriter) bool {
			if verb != "patch" {
				return false
			}
			status(w, 422, "Invalid", "ValidatingAdmissionPolicy 'wirespan' with binding 'wirespan' denied request: not this Node")
			return true
		}, "own", "an admission policy refuses it: ValidatingAdmissionPolicy"},
		"another server": {func(_ string, w http.ResponseWriter) bool { http.NotFound(w, nil); return true }, "own", "is this the address of a Kubernetes API server?"},
		"a web page": {func(_ string, w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>\x1b[31m"))
			return true
		}, "own", "the answer is not one of a Kubernetes API server"},
		"a web page that says JSON": {func(_ string, w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte("<html>\x1b[31m"))
			return true
		}, "own", "the answer is not one of a Kubernetes API server"},
		"a login": {func(_ string, w http.ResponseWriter) bool {
			w.Header().Set("Location", "https://login.example.org/")
			w.WriteHeader(http.StatusFound)
			return true
		}, "own", "the server redirects to another address"},
		"another object": {func(verb string, w http.ResponseWriter) bool {
			if verb != "patch" {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"kind":"Pod","apiVersion":"v1"}`))
			return true
		}, "own", "the answer is not one of a Kubernetes API server"},
		"another Node": {func(verb string, w http.ResponseWriter) bool {
			if verb != "patch" {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"kind":"Node","apiVersion":"v1","metadata":{"name":"x","resourceVersion":"999999"}}`))
			return true
		}, "own", `the answer is of the Node "x"`},
		"overloaded": {func(_ string, w http.ResponseWriter) bool {
			status(w, 500, "InternalError", "etcd is gone")
			return true
		}, "own", "etcd is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, api *fakeAPI) {
				api.set("own", nil)
				api.setRefuse(test.refuse)
				c := newClient(t, api, func(c *Config) { c.Node = test.node })
				run(t, c)
				c.Publish(discovery.Local{Affiliate: affiliate(1)})
				settle(10 * time.Second)
				err := c.Snapshot().LastError
				if err == nil || !strings.Contains(err.Error(), test.want) || !discovery.Printable(err.Error()) {
					t.Errorf("error %q, want %q", err, test.want)
				}
			})
		})
	}
}

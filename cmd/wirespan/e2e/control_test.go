package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// asks sends a request to the control socket as the given user, and returns status code
// and size of the answer.
func (n *labNode) asks(user int, method, target string) (code, size int) {
	n.Helper()
	argv := []string{"curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", "-X", method, "--unix-socket", n.path("s"), "http://wirespan" + target}
	if user != 0 {
		id := strconv.Itoa(user)
		argv = append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups"}, argv...)
	}
	out := n.mustExec(argv...)
	if _, err := fmt.Sscan(out, &code, &size); err != nil {
		n.Fatalf("%s %s: %s", method, target, out)
	}
	return code, size
}

// scenarioControlGarbage checks that explain and accept refuse invalid input with a
// short message, and that a user without rights can read but change nothing.
func scenarioControlGarbage(l *lab) {
	n := l.host("a").node("")
	n.found()
	eventually(l.T, within, func() error { _, err := n.status(); return err })
	for path, mode := range map[string]os.FileMode{n.home: 0o711, n.path("s"): 0o666} { // what a member of the group may do
		if err := os.Chmod(path, mode); err != nil {
			l.Fatal(err)
		}
	}
	long := strings.Repeat("x", 8000)
	for _, c := range []struct {
		user           int
		method, target string
		code           int
	}{
		{nobody, "GET", "/v1/explain?to=10.1.2.3&port=80&protocol=tcp", 200},
		{nobody, "GET", "/v1/explain?to=10.1.2.3", 200},
		{nobody, "POST", "/v1/accept?node=a", 403},
		{nobody, "POST", "/v1/accept", 403},
		{0, "GET", "/v1/explain?to=fe80::1%25eth0", 200},
		{0, "GET", "/v1/explain?to=::ffff:10.1.2.3", 200},
		{0, "GET", "/v1/explain", 400},
		{0, "GET", "/v1/explain?to=", 400},
		{0, "GET", "/v1/explain?to=10.1.2", 400},
		{0, "GET", "/v1/explain?to=10.1.2.3/24", 400},
		{0, "GET", "/v1/explain?to=" + long, 400},
		{0, "GET", "/v1/explain?to=10.1.2.3&port=65536", 400},
		{0, "GET", "/v1/explain?to=10.1.2.3&port=-1", 400},
		{0, "GET", "/v1/explain?to=10.1.2.3&port=http", 400},
		{0, "GET", "/v1/explain?to=10.1.2.3&protocol=sctp", 400},
		{0, "GET", "/v1/explain?to=10.1.2.3&protocol=" + long, 400},
		{0, "GET", "/v1/explain?to=10.1.2.3&from=nobody", 422},
		{0, "GET", "/v1/explain?to=10.1.2.3&from=" + long, 422},
		{0, "GET", "/v1/explain?to=" + strings.Repeat(long, 3), 431},
		{0, "POST", "/v1/explain?to=10.1.2.3", 405},
		{0, "GET", "/v1/accept?node=a", 405},
		{0, "POST", "/v1/accept", 422},
		{0, "POST", "/v1/accept?node=nobody", 422},
		{0, "POST", "/v1/accept?node=" + long, 422},
		{0, "POST", "/v1/accept?node=%00%ff%0a", 422},
	} {
		code, size := n.asks(c.user, c.method, c.target)
		if code != c.code || size > 10_000 {
			l.Errorf("%s %.60s as %d: code %d, want %d, %d bytes", c.method, c.target, c.user, code, c.code, size)
		}
	}
	n.asksNonsense()
	if err := n.proc.running(); err != nil {
		l.Error(err)
	}
	n.mustCLI("explain", "a")
}

// asksNonsense sends requests with random arguments, which must all be refused or answered.
func (n *labNode) asksNonsense() {
	n.Helper()
	noise := garbage{rand.New(rand.NewChaCha8([32]byte{7}))}
	for i := range 50 {
		value := url.QueryEscape(string(noise.message()[:1+noise.IntN(3)]))
		target := "/v1/explain?to=10.1.2.3&" + []string{"to", "port", "protocol", "from"}[i%4] + "=" + value
		if i%4 == 0 {
			target = "/v1/explain?to=" + value
		}
		if code, size := n.asks(nobody, "GET", target); code < 200 || code >= 500 || size > 10_000 {
			n.Errorf("%q: code %d, %d bytes", target, code, size)
		}
	}
}

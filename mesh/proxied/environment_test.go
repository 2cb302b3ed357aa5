package proxied

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http/httpproxy"
)

// exceptedThere is what net/http does with NO_PROXY.
func exceptedThere(t *testing.T, addr, list string) bool {
	t.Helper()
	cfg := httpproxy.Config{HTTPSProxy: "http://proxy.example", NoProxy: list}
	via, err := cfg.ProxyFunc()(&url.URL{Scheme: "https", Host: addr})
	if err != nil {
		t.Fatal(err)
	}
	return via == nil
}

func TestNoProxy(t *testing.T) {
	lists := []string{
		"", ",", " , ,", "*", "a.example,*", "*,a.example", ".", "*.", ":", ":443", ":80",
		"a.example", "A.Example", " a.example ", ".a.example", "*.a.example", "*a.example", "example", ".example", "xa.example",
		"a.example:443", "a.example:444", ".example:443", "*.example:444", "a.example:", "a.example:x", "b.example,a.example",
		"192.0.2.1", "192.0.2.2", "192.0.2.1:443", "192.0.2.1:444", "192.0.2.0/24", "192.0.3.0/24", "192.0.2.0/33", "192.0.2.", "0.0.0.0/0",
		"2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443", "[2001:db8::1]:444", "2001:db8::/32", "::/0", "fe80::1", "fe80::1%eth0", "fe80::/10",
		"::ffff:192.0.2.1", "::ffff:192.0.2.0/120", "localhost", "127.0.0.1", "http://a.example", "a.example:443:443",
	}
	addrs := []string{
		"a.example:443", "A.EXAMPLE:443", "b.a.example:443", "xa.example:443", "a.example:444", "a.example.:443", "example:443", "localhost:443",
		"sub.localhost:443", "127.0.0.1:443", "127.1.2.3:80", "[::1]:443", "[::ffff:127.0.0.1]:443",
		"192.0.2.1:443", "192.0.2.1:444", "192.0.2.77:443", "[2001:db8::1]:443", "[2001:db8::1]:80", "[2001:db8::2]:443", "[fe80::1%eth0]:443",
		"[::ffff:192.0.2.1]:443", "0.0.0.0:443", "[::]:443",
	}
	for _, list := range lists {
		for _, addr := range addrs {
			if got, want := excepted(addr, list), exceptedThere(t, addr, list); got != want {
				t.Errorf("%s with NO_PROXY=%q: direct %t, want %t", addr, list, got, want)
			}
		}
	}
}

// sound reports whether addr is a host name or an IP address, with a port.
func sound(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err == nil || host != "" && strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// FuzzNoProxy has net/http's opinion on what an endpoint and NO_PROXY may be.
func FuzzNoProxy(f *testing.F) {
	f.Add("a.example:443", "*.example:443,[::1]:2")
	f.Add("[2001:db8::1]:443", "2001:db8::/32, 10.0.0.0/8")
	f.Add("1.2.3.4:5", "1.2.3.4:5")
	f.Fuzz(func(t *testing.T, addr, list string) {
		if !sound(addr) || strings.EqualFold(addr[:min(len(addr), 10)], "localhost:") {
			return
		}
		for i := range len(list) { // names are ASCII here
			if list[i] >= 0x80 {
				return
			}
		}
		if strings.Contains(addr, "%") { // in an URL it stands for something else
			return
		}
		if got, want := excepted(addr, list), exceptedThere(t, addr, list); got != want {
			t.Fatalf("%s with NO_PROXY=%q: direct %t, want %t", addr, list, got, want)
		}
	})
}

func TestProxyVariables(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		want string
	}{
		"none":                    {nil, ""},
		"upper case":              {map[string]string{"HTTPS_PROXY": "http://a:1"}, "http://a:1"},
		"lower case":              {map[string]string{"https_proxy": "http://a:1"}, "http://a:1"},
		"lower case first":        {map[string]string{"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "http://a:1"},
		"for all":                 {map[string]string{"all_proxy": "socks5://a:1", "ALL_PROXY": "socks5://b:1"}, "socks5://a:1"},
		"for HTTPS before all":    {map[string]string{"HTTPS_PROXY": "http://a:1", "all_proxy": "http://b:1"}, "http://a:1"},
		"not for HTTP":            {map[string]string{"HTTP_PROXY": "http://a:1", "http_proxy": "http://a:1"}, ""},
		"no scheme":               {map[string]string{"HTTPS_PROXY": "a:1"}, "http://a:1"},
		"no scheme and no port":   {map[string]string{"HTTPS_PROXY": "a"}, "http://a"},
		"an address and a port":   {map[string]string{"HTTPS_PROXY": "192.0.2.1:1"}, "http://192.0.2.1:1"},
		"excepted":                {map[string]string{"HTTPS_PROXY": "a:1", "NO_PROXY": "discovery.example"}, ""},
		"excepted, lower case":    {map[string]string{"HTTPS_PROXY": "a:1", "no_proxy": "example", "NO_PROXY": "other"}, ""},
		"all are excepted":        {map[string]string{"HTTPS_PROXY": "a:1", "NO_PROXY": "*"}, ""},
		"no URL":                  {map[string]string{"HTTPS_PROXY": "http://u:hunter2@a b:1"}, "error"},
		"a path":                  {map[string]string{"HTTPS_PROXY": "/hunter2"}, "error"},
		"no URL, but not for us":  {map[string]string{"HTTPS_PROXY": "/hunter2", "NO_PROXY": "*"}, ""},
		"not a URL's port either": {map[string]string{"HTTPS_PROXY": "a:hunter2"}, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, e := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"} {
				t.Setenv(e, tc.env[e])
			}
			via, err := For("discovery.example:443")
			got := ""
			switch {
			case err != nil:
				got = "error"
			case via != nil:
				got = via.String()
			}
			if got != tc.want || err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

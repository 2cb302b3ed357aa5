//go:build !edge

package portmap

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// igd is the UPnP side of a gateway. Guarded by fakeGateway.mu.
type igd struct {
	*fakeGateway
	control   string              // the control URL
	permanent bool                // it grants no lease
	entries   map[string][]string // by protocol and external port: client, port, description
	more      string              // in the description
	redirect  string              // where requests are redirected
	calls     []string            // actions
	leases    map[string]int      // asked for
}

const location = "http://192.168.1.1:5000/rootDesc.xml"

func (g *fakeGateway) igd() *igd {
	i := &igd{fakeGateway: g, control: "/ctl/IPConn", entries: map[string][]string{}, leases: map[string]int{}}
	g.location, g.http = location, i.serve
	return i
}

func (i *igd) serve(c net.Conn) {
	defer c.Close()
	request, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	i.mu.Lock()
	status, body := i.reply(request)
	i.mu.Unlock()
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: %d\r\nLocation: %s\r\n\r\n%s", status, len(body), i.redirect, body)
}

func (i *igd) reply(r *http.Request) (status, body string) {
	if i.redirect != "" {
		return "302 Found", ""
	}
	if r.Method == http.MethodGet {
		return "200 OK", `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceList><device><serviceList>` +
			`<service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/ctl/L3F</controlURL></service>` +
			`<service><serviceType>` + serviceIP1 + `</serviceType><controlURL>` + i.control + `</controlURL></service>` +
			`</serviceList></device></deviceList></device>` + i.more + `</root>`
	}
	body = readAll(r)
	action := strings.TrimPrefix(strings.Trim(r.Header.Get("SOAPAction"), `"`), serviceIP1+"#")
	i.calls = append(i.calls, action)
	field := func(name string) string {
		m := regexp.MustCompile("<" + name + ">([^<]*)</" + name + ">").FindStringSubmatch(body)
		if m == nil {
			return ""
		}
		return m[1]
	}
	key := field("NewProtocol") + " " + field("NewExternalPort")
	entry, there := i.entries[key]
	switch {
	case action == "GetExternalIPAddress":
		return soap("NewExternalIPAddress", i.external.String())
	case action == "GetSpecificPortMappingEntry" && there:
		return soap("NewInternalClient", entry[0], "NewInternalPort", entry[1], "NewPortMappingDescription", entry[2])
	case action == "AddPortMapping" && i.permanent && field("NewLeaseDuration") != "0":
		return fault(upnpOnlyPermanent)
	case action == "AddPortMapping":
		i.entries[key] = []string{field("NewInternalClient"), field("NewInternalPort"), field("NewPortMappingDescription")}
		i.leases[key], _ = strconv.Atoi(field("NewLeaseDuration"))
		return soap()
	case action == "DeletePortMapping" && there:
		delete(i.entries, key)
		return soap()
	}
	return fault(upnpNoSuchEntry)
}

func readAll(r *http.Request) string {
	b := make([]byte, r.ContentLength)
	for n := 0; n < len(b); {
		m, err := r.Body.Read(b[n:])
		if n += m; err != nil {
			break
		}
	}
	return string(b)
}

func soap(pairs ...string) (status, body string) {
	for i := 0; i < len(pairs); i += 2 {
		body += "<" + pairs[i] + ">" + pairs[i+1] + "</" + pairs[i] + ">"
	}
	return "200 OK", `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><u:R>` + body + `</u:R></s:Body></s:Envelope>`
}

func fault(code int) (status, body string) {
	return "500 Internal Server Error", fmt.Sprintf(`<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><detail>`+
		`<UPnPError><errorCode>%d</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>`, code)
}

func TestUPnP(t *testing.T) {
	var i *igd
	start(t, func(w *world) { i = w.fake.igd() }, func(w *world) {
		w.after(10 * time.Second)
		w.expect("UPnP", at...)
		w.fake.with(func() { clear(i.entries) }) // a restart
		w.after(checkSeldom)
		w.fake.with(func() {
			if e := i.entries["UDP 51820"]; len(e) != 3 || e[0] != "192.168.1.2" || e[1] != "51820" || i.leases["UDP 51820"] != 3600 {
				t.Errorf("%q, lease of %d s", e, i.leases["UDP 51820"])
			}
		})
		w.after(2 * time.Hour)
		w.expect("UPnP", at...)
		w.Release(w.Context())
		if len(i.entries) > 0 {
			t.Errorf("after Release: %q", i.entries)
		}
	})
}

// Mappings of others are left alone: another port is taken.
func TestUPnPTakenPort(t *testing.T) {
	var i *igd
	start(t, func(w *world) {
		i = w.fake.igd()
		i.entries["UDP 51820"] = []string{"192.168.1.77", "51820", "wirespan"}
		i.entries["TCP 443"] = []string{"192.168.1.2", "443", "web server"} // made by hand, to this host
	}, func(w *world) {
		w.after(10 * time.Second)
		w.expect("UPnP", netip.AddrPortFrom(outside, 51821), at[1])
		w.Release(w.Context())
		if len(i.entries) != 2 || i.entries["UDP 51820"][0] != "192.168.1.77" || i.entries["TCP 443"][2] != "web server" {
			t.Errorf("after Release: %q", i.entries)
		}
	})
}

func TestUPnPPermanentOnly(t *testing.T) {
	start(t, func(w *world) { w.fake.igd().permanent = true }, func(w *world) {
		w.after(10 * time.Second)
		w.expect("UPnP", at...)
		if p := w.Report().Ports[0]; !p.Expires.IsZero() {
			t.Errorf("%+v", p)
		}
	})
}

// A gateway that names other hosts is not followed.
func TestUPnPElsewhere(t *testing.T) {
	for name, change := range map[string]func(i *igd){
		"the description":   func(i *igd) { i.location = "http://192.168.1.3:5000/rootDesc.xml" },
		"a name":            func(i *igd) { i.location = "http://gateway.example/rootDesc.xml" },
		"another scheme":    func(i *igd) { i.location = "https://192.168.1.1/rootDesc.xml" },
		"the control URL":   func(i *igd) { i.control = "http://10.0.0.1/ctl" },
		"a user":            func(i *igd) { i.control = "http://a@192.168.1.1/ctl" },
		"a redirect":        func(i *igd) { i.redirect = "http://10.0.0.1/ctl" },
		"too much":          func(i *igd) { i.more = strings.Repeat("<a>", maxDocument) },
		"no port":           func(i *igd) { i.control = "http://192.168.1.1:0/ctl" },
		"a private address": func(i *igd) { i.external = netip.MustParseAddr("10.9.9.9") },
	} {
		var i *igd
		start(t, func(w *world) { i = w.fake.igd(); change(i) }, func(w *world) {
			w.after(15 * time.Second)
			r := w.Report()
			if r.Reason == "" || len(r.Mapped(mesh.PortWireGuard, "udp")) > 0 || len(i.entries) > 0 {
				t.Errorf("%s: %+v", name, r)
			}
		})
	}
}

func FuzzSearchAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nLOCATION: " + location + "\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:99999/\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := parseSearchAnswer(b, gateway.Address)
		if err == nil && (u.Hostname() != gateway.Address.String() || u.Scheme != "http") {
			t.Errorf("%q leads to %v", b, u)
		}
	})
}

func FuzzDescription(f *testing.F) {
	base, err := url.Parse(location)
	if err != nil {
		f.Fatal(err)
	}
	_, text := newGateway(nil).igd().reply(&http.Request{Method: http.MethodGet})
	f.Add(text)
	f.Add(strings.Replace(text, "<device>", "<URLBase>http://10.0.0.1/</URLBase><device>", 1))
	f.Fuzz(func(t *testing.T, text string) {
		services, err := parseDescription(strings.NewReader(text), base, gateway.Address)
		if err == nil && (len(services) == 0 || len(services) > maxServices) {
			t.Errorf("%q has %d services", text, len(services))
		}
		for _, s := range services {
			if s.control.Hostname() != gateway.Address.String() {
				t.Errorf("%q is controlled at %v", text, s.control)
			}
		}
		_, _ = parseReply(strings.NewReader(text))
	})
}

//go:build !edge

package portmap

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const (
	maxDocument = 64 << 10 // of a description or an answer, in bytes
	maxServices = 4        // that are asked
	maxText     = 256      // of an element that is used, in bytes
)

const (
	gatewayDevice = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
	serviceIP2    = "urn:schemas-upnp-org:service:WANIPConnection:2"
	serviceIP1    = "urn:schemas-upnp-org:service:WANIPConnection:1"
	servicePPP1   = "urn:schemas-upnp-org:service:WANPPPConnection:1"
)

// searchRequest asks for gateways (SSDP).
const searchRequest = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: " + gatewayDevice + "\r\n\r\n"

// upnpService is what a gateway is controlled by.
type upnpService struct {
	kind    string
	control *url.URL
}

// parseSearchAnswer returns where the description of a gateway is. It must be there itself.
func parseSearchAnswer(b []byte, gateway netip.Addr) (*url.URL, error) {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers with code %d", r.StatusCode)
	}
	return atGateway(nil, r.Header.Get("Location"), gateway)
}

// atGateway reads a reference to a URL of the gateway.
func atGateway(base *url.URL, reference string, gateway netip.Addr) (*url.URL, error) {
	u, err := url.Parse(reference)
	if err == nil && base != nil {
		u = base.ResolveReference(u)
	}
	if err != nil || u.Scheme != "http" || u.User != nil {
		return nil, fmt.Errorf("it names %.200q, which is no http URL", reference)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err != nil || a != gateway {
		return nil, fmt.Errorf("it names %.200q, which is not at the gateway %v", reference, gateway)
	}
	if _, err := urlPort(u); err != nil {
		return nil, fmt.Errorf("it names %.200q: %w", reference, err)
	}
	u.Fragment = ""
	return u, nil
}

func urlPort(u *url.URL) (uint16, error) {
	if u.Port() == "" {
		return 80, nil
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %.10q is none", u.Port())
	}
	return uint16(n), nil
}

// elements calls text with each element of a document that holds text, and end after each
// element. It reads maxDocument at most.
func elements(r io.Reader, text func(name, value string), end func(name string)) error {
	d := xml.NewDecoder(io.LimitReader(r, maxDocument))
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // what is used is ASCII
	var value strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read XML: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			value.Reset()
		case xml.CharData:
			value.Write(t[:min(len(t), max(0, maxText-value.Len()))])
		case xml.EndElement:
			text(t.Name.Local, strings.TrimSpace(value.String()))
			end(t.Name.Local)
			value.Reset()
		}
	}
}

// parseDescription returns the services of a description that map ports, the best first.
func parseDescription(r io.Reader, at *url.URL, gateway netip.Addr) (out []upnpService, err error) {
	base, kind, control := at, "", ""
	found := map[string][]string{} // controlURL by kind
	err = elements(r, func(name, value string) {
		switch name {
		case "URLBase":
			if u, err := atGateway(nil, value, gateway); err == nil {
				base = u
			}
		case "serviceType":
			kind = value
		case "controlURL":
			control = value
		}
	}, func(name string) {
		if name == "service" {
			if len(found[kind]) < maxServices {
				found[kind] = append(found[kind], control)
			}
			kind, control = "", ""
		}
	})
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{serviceIP2, serviceIP1, servicePPP1} {
		for _, c := range found[kind] {
			u, err := atGateway(base, c, gateway)
			if err != nil {
				return nil, err
			}
			if len(out) < maxServices {
				out = append(out, upnpService{kind, u})
			}
		}
	}
	if len(out) == 0 {
		return nil, errNotOffered
	}
	return out, nil
}

// argument is one of an action.
type argument struct{ name, value string }

// envelope returns the SOAP request of an action. Arguments need no escaping: they are
// numbers, addresses and words of ours.
func envelope(service, action string, arguments []argument) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?>` + "\r\n" + `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:` + action + ` xmlns:u="` + service + `">`)
	for _, a := range arguments {
		b.WriteString("<" + a.name + ">" + a.value + "</" + a.name + ">")
	}
	b.WriteString("</u:" + action + "></s:Body></s:Envelope>\r\n")
	return b.String()
}

// parseReply returns the arguments of a reply, or its fault as a refusal.
func parseReply(r io.Reader) (map[string]string, error) {
	out := map[string]string{}
	err := elements(r, func(name, value string) {
		if strings.HasPrefix(name, "New") || name == "errorCode" || name == "errorDescription" {
			if len(out) < 32 {
				out[name] = value
			}
		}
	}, func(string) {})
	if err != nil {
		return nil, err
	}
	if code, fault := out["errorCode"]; fault {
		n, _ := strconv.Atoi(code)
		return nil, refusal{n, strings.ToValidUTF8(out["errorDescription"], "?")}
	}
	return out, nil
}

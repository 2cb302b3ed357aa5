// Package resolved tells systemd-resolved which names the mesh's DNS server answers for.
//
// [Run] registers the server with a link of this host, so that resolved asks it for the given
// domains and for nothing else, again whenever resolved restarts, and takes that back at its
// end. Where resolved does not run, it waits, and says how else to set up the host. It never
// starts resolved, and changes no file.
//
// # Ownership
//
// Run owns its connection to the system bus and its goroutines; it returns when they have
// ended.
package resolved

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

const (
	retryInterval = 30 * time.Second // after what failed
	callTimeout   = 5 * time.Second
)

// Link is what resolved is told.
type Link struct {
	Index  int        // of the interface
	Server netip.Addr // an IPv6 address that the interface leads to; the port is 53
	// Domains are those that the server answers for. The first is that of nodes' names.
	Domains []Domain
}

// Domain is a DNS domain without a final dot.
type Domain struct {
	Name   string
	Search bool // names of one label are also looked up in it
}

// Run keeps a link registered until ctx is done. When that begins or ceases to be so, report is
// called, by Run itself: with the reason and a remedy, in one sentence, or empty if the link is
// registered.
func Run(ctx context.Context, link Link, report func(problem string)) error {
	if link.Index <= 0 || !link.Server.Is6() || len(link.Domains) == 0 {
		return errors.New("systemd-resolved: a link, a server and domains are required")
	}
	r := &registration{link: link, report: report, connect: connectSystem}
	r.run(ctx)
	return nil
}

// bus is what is needed of the system bus.
type bus interface {
	// owner returns who answers for resolved; empty: nobody.
	owner(ctx context.Context) (string, error)
	// changed gets something when the owner may have changed, and is closed with the connection.
	changed() <-chan struct{}
	// call calls a method of resolved. It does not start resolved.
	call(ctx context.Context, method string, args ...any) error
	close()
}

// Errors of resolved that have remedies of their own.
var (
	errAbsent        = errors.New("systemd-resolved does not run on this host")
	errBusy          = errors.New("another program manages the interface's DNS settings")
	errDenied        = errors.New("not permitted")
	errUnknownMethod = errors.New("this version of systemd-resolved is too old")
)

type registration struct {
	link    Link
	report  func(string)
	connect func(context.Context) (bus, error)

	at   string // the owner that the link is registered with; empty: not registered
	said *string
}

func (r *registration) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.session(ctx)
		if ctx.Err() != nil {
			return
		}
		r.at = ""
		r.say(err)
		pause(ctx, nil)
	}
}

// pause waits for the time of the next try, or until something has changed.
func pause(ctx context.Context, changed <-chan struct{}) (open bool) {
	timer := time.NewTimer(retryInterval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case _, ok := <-changed:
		return ok
	}
	return true
}

// session keeps the link registered as long as there is a connection.
func (r *registration) session(ctx context.Context) error {
	b, err := r.connect(ctx)
	if err != nil {
		return fmt.Errorf("%w (%w)", errAbsent, err)
	}
	defer b.close()
	defer func() {
		if r.at != "" {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
			defer cancel()
			_ = b.call(ctx, "RevertLink", int32(r.link.Index)) // resolved forgets the link with its interface, too
		}
	}()
	for ctx.Err() == nil {
		r.say(r.settle(ctx, b))
		if !pause(ctx, b.changed()) {
			r.at = ""
			return errors.New("the system bus has closed the connection")
		}
	}
	return nil
}

// settle registers the link, unless resolved has it already.
func (r *registration) settle(ctx context.Context, b bus) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	owner, err := b.owner(ctx)
	switch {
	case err != nil:
		return err
	case owner == r.at && owner != "":
		return nil
	case owner == "":
		r.at = ""
		return errAbsent
	}
	if err := r.register(ctx, b); err != nil {
		r.at = ""
		_ = b.call(ctx, "RevertLink", int32(r.link.Index))
		return err
	}
	r.at = owner
	return nil
}

const inet6 = 10 // AF_INET6

type (
	server struct { // (iay)
		Family  int32
		Address []byte
	}
	domain struct { // (sb)
		Name        string
		RoutingOnly bool
	}
)

// register makes the calls. The server comes last, so that resolved at no time asks it for
// other names. Older versions lack some methods without which names work, too.
func (r *registration) register(ctx context.Context, b bus) error {
	index := int32(r.link.Index)
	var domains []domain
	for _, d := range r.link.Domains {
		domains = append(domains, domain{d.Name, !d.Search})
	}
	for _, c := range []struct {
		method   string
		arg      any
		optional bool
	}{
		{"SetLinkDefaultRoute", false, true},
		{"SetLinkDomains", domains, false},
		{"SetLinkDNSSEC", "no", true}, // the domain is not signed
		{"SetLinkDNSOverTLS", "no", true},
		{"SetLinkLLMNR", "no", true},
		{"SetLinkMulticastDNS", "no", true},
		{"SetLinkDNS", []server{{inet6, r.link.Server.AsSlice()}}, false},
	} {
		if err := b.call(ctx, c.method, index, c.arg); err != nil && !(c.optional && errors.Is(err, errUnknownMethod)) {
			return fmt.Errorf("systemd-resolved, %s: %w", c.method, err)
		}
	}
	return nil
}

// say reports a state that differs from the last.
func (r *registration) say(err error) {
	text := ""
	if err != nil {
		text = r.link.advice(err)
	}
	if r.said == nil || *r.said != text {
		r.said = &text
		r.report(text)
	}
}

// advice says why programs of this host don't find the mesh's names, and what to do.
func (l *Link) advice(err error) string {
	name := l.Domains[0].Name
	text := fmt.Sprintf("programs of this host do not find names in %q by themselves: %v; ", name, err)
	switch {
	case errors.Is(err, errBusy):
		return text + "take the interface out of what that program manages (with systemd-networkd: Unmanaged=yes), or set DNS and Domains there"
	case errors.Is(err, errDenied):
		return text + "run the agent as root, or allow its user org.freedesktop.resolve1.* by a polkit rule"
	}
	return text + fmt.Sprintf("write \"nameserver %s\" at the top of /etc/resolv.conf, or \"server=/%s/%s\" for dnsmasq", l.Server, name, l.Server)
}

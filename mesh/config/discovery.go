package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"

	"github.com/wirespan/wirespan/mesh"
)

// maxClusterID is the limit of the discovery protocol, in bytes.
const maxClusterID = 256

// service is a DiscoveryServiceConfig before validation.
type service struct {
	at       pos
	name     text
	endpoint text
}

func (l *loader) readService(o *object, name text) {
	l.services = append(l.services, service{o.at, name, o.text("endpoint")})
}

// identity is a cluster's id and secret before validation, from either kind of
// document.
type identity struct {
	at     pos
	id     text
	secret text
}

func (i *identity) isSet() bool { return i != nil && (i.id.value != "" || i.secret.value != "") }

func (l *loader) readIdentity(o *object) {
	l.identityDocument = &identity{o.at, o.text("clusterID"), o.text("clusterSecret")}
}

// validateDiscovery checks the discovery documents and applies them. As in Talos,
// services and identity of a machine configuration take precedence.
func (l *loader) validateDiscovery() {
	legacyServices := len(l.cfg.Services) > 0
	for _, s := range l.services {
		if l.legacy != nil && l.legacy.discovery != nil {
			l.add(s.at, "discovery service is already configured in .cluster.discovery of the v1alpha1 config")
		}
		parsed, ok := l.checkService(s)
		if ok && !legacyServices {
			l.cfg.Services = append(l.cfg.Services, parsed)
		}
		if l.serviceAt.line == 0 {
			l.serviceAt = s.at
		}
	}
	i := l.identityDocument
	if i == nil {
		return
	}
	if l.identity.isSet() {
		l.add(i.at, "cluster identity is already configured in .cluster.id/.cluster.secret of the v1alpha1 config")
		return
	}
	if i.id.value == "" {
		l.add(i.at, "%s: clusterID is required", kindDiscoveryIdentity)
	}
	if i.secret.value == "" {
		l.add(i.at, "%s: clusterSecret is required", kindDiscoveryIdentity)
	}
	l.identity = i
	l.takeIdentity(i, kindDiscoveryIdentity)
}

func (l *loader) checkService(s service) (Service, bool) {
	prefix := kindDiscoveryService + "/" + clip(s.name.value) + ": "
	if s.name.value == "" {
		l.add(s.at, "%sname is required", prefix)
	}
	if s.endpoint.value == "" {
		l.add(s.at, "%sendpoint is required", prefix)
		return Service{}, false
	}
	parsed, _, err := parseService(s.name.value, s.endpoint.value)
	if err != nil {
		l.add(s.endpoint.at, "%s%v", prefix, err)
	}
	return parsed, err == nil && s.name.value != ""
}

// parseService normalises a service's URL to host:port and ignores path and query.
// Errors don't quote the URL, which may hold a password.
func parseService(name, endpoint string) (Service, *url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		return Service{}, nil, fmt.Errorf("endpoint: %w", err)
	}
	s := Service{Name: name, Insecure: u.Scheme == "http"}
	port := uint16(443)
	switch u.Scheme {
	case "":
		return s, u, errors.New("endpoint scheme is required")
	case "http":
		port = 80
	case "https", "grpc":
	default:
		return s, u, errors.New("endpoint scheme must be http://, https:// or grpc://")
	}
	host := u.Hostname()
	if host == "" {
		return s, u, errors.New("endpoint host is required")
	}
	if err := checkHost(host); err != nil {
		return s, u, fmt.Errorf("endpoint: %w", err)
	}
	if p := u.Port(); p != "" {
		if port, err = parsePort(p); err != nil {
			return s, u, fmt.Errorf("endpoint: %w", err)
		}
	}
	s.Endpoint = joinHostPort(host, port)
	return s, u, nil
}

// takeIdentity makes i the effective identity. Where the error texts of Talos quote
// the secret, these say "(redacted)": errors end up in logs and bug reports.
func (l *loader) takeIdentity(i *identity, prefix string) {
	l.cfg.HasIdentity = i.isSet()
	if n := len(i.id.value); n > maxClusterID {
		l.add(i.id.at, "%s: clusterID is too long: %d bytes, at most %d", prefix, n, maxClusterID)
	}
	l.cfg.ClusterID = i.id.value
	if i.secret.value == "" {
		return
	}
	b, err := base64.StdEncoding.DecodeString(i.secret.value)
	switch {
	case err != nil:
		l.add(i.secret.at, "%s: invalid clusterSecret: failed to decode from base64: (redacted); %v", prefix, err)
	case len(b) != mesh.KeySize:
		l.add(i.secret.at, "%s: invalid clusterSecret: expected %d bytes, got %d: (redacted)", prefix, mesh.KeySize, len(b))
	default:
		l.cfg.ClusterSecret = mesh.NewSecret([mesh.KeySize]byte(b))
		if l.cfg.ClusterSecret.IsZero() { // to WireGuard this means "no preshared key"
			l.add(i.secret.at, "%s: invalid clusterSecret: all bytes are zero", prefix)
		}
	}
}

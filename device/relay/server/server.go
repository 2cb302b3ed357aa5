package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"time"

	pion "github.com/pion/turn/v5"
	"golang.org/x/time/rate"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
)

// Socket is a UDP socket, as *net.UDPConn is one. One that is a burst.Socket, too, is used as that.
type Socket interface {
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

// Member is who may use the relay.
type Member struct {
	Name string
	Key  mesh.Key // of WireGuard, to which its peers' first messages are made out
}

// Config is what a server needs to know.
type Config struct {
	// Sockets and Listeners take requests. A listener of TLS does its handshakes when a
	// connection is read.
	Sockets   []Socket
	Listeners []net.Listener
	// Public4 and Public6 are the addresses under which relayed ports are reached. Without one
	// there are no allocations of that family.
	Public4, Public6 netip.Addr
	// Listen opens a port for an allocation; the network is udp4 or udp6.
	Listen func(network string, port uint16) (Socket, error)
	// FirstPort and LastPort are the range of such ports.
	FirstPort, LastPort uint16

	// Keys returns those with which a member makes its credentials: two while the mesh changes
	// its secret. Users are asked for that Authorize knows.
	Keys func(user string) []relay.Key
	// Authorize returns the member with a name of relay.User; false if there is none.
	Authorize func(user string) (Member, bool)
	// Own reports whether an address is one of this host, and WireGuardPort what may be reached
	// there. Both are asked for each packet.
	Own           func(netip.Addr) bool
	WireGuardPort func() uint16
	// Private is which private networks may be reached all the same.
	Private []netip.Prefix
	Limits  Limits
}

// Server relays. Use New.
type Server struct {
	cfg     Config
	limits  Limits
	total   *rate.Limiter
	answers answers
	group   sync.WaitGroup // of allocations and connections

	mu      sync.RWMutex
	live    map[netip.AddrPort]*allocation // by relayed address
	members map[string]*usage
	next    uint16 // port to try
	closed  bool
}

// New returns a server. It does nothing until Run.
func New(cfg Config) (*Server, error) {
	switch {
	case len(cfg.Sockets)+len(cfg.Listeners) == 0:
		return nil, errors.New("relay server: it needs a socket or a listener")
	case cfg.Listen == nil || cfg.Authorize == nil || cfg.Own == nil || cfg.WireGuardPort == nil || cfg.Keys == nil:
		return nil, errors.New("relay server: Listen, Authorize, Own, WireGuardPort and Keys are required")
	case cfg.FirstPort == 0 || cfg.LastPort < cfg.FirstPort:
		return nil, fmt.Errorf("relay server: ports %d to %d are no range", cfg.FirstPort, cfg.LastPort)
	case !cfg.Public4.Is4() && !cfg.Public6.Is6():
		return nil, errors.New("relay server: it needs a public address")
	}
	limits := cfg.Limits.withDefaults()
	return &Server{
		cfg: cfg, limits: limits, total: rate.NewLimiter(rate.Limit(limits.Bandwidth), bucket(limits.Bandwidth)),
		answers: answers{seed: maphash.MakeSeed(), start: time.Now()},
		live:    map[netip.AddrPort]*allocation{}, members: map[string]*usage{}, next: cfg.FirstPort,
	}, nil
}

// recheckInterval is how often members are authorized anew if nobody asks for it.
const recheckInterval = 10 * time.Second

// Run serves until ctx ends. It is called once.
func (s *Server) Run(ctx context.Context) error {
	server, fronts, err := s.start()
	if err != nil {
		return fmt.Errorf("relay server: %w", err)
	}
	tick := time.NewTicker(recheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.closed = true
			s.mu.Unlock()
			err := server.Close()
			for _, f := range fronts {
				f.close()
			}
			s.closeAllocations(func(*allocation) bool { return true })
			s.group.Wait()
			if err != nil {
				return fmt.Errorf("relay server: closing: %w", err)
			}
			return nil
		case <-tick.C:
			s.Recheck()
		}
	}
}

// start has pion serve every socket and listener.
func (s *Server) start() (*pion.Server, []*front, error) {
	var fronts []*front
	cfg := pion.ServerConfig{
		Realm: relay.Realm, LoggerFactory: silent{}, InboundMTU: turn.MaxMessage + 1, AllocationLifetime: s.limits.Lifetime,
		StrictAddressFamily: true, AuthHandler: s.authenticate, QuotaHandler: s.quota, EventHandler: s.events(),
	}
	for _, socket := range s.cfg.Sockets {
		f := newFront(s)
		fronts = append(fronts, f)
		d := newDatagrams(socket, f)
		f.writer = d
		cfg.PacketConnConfigs = append(cfg.PacketConnConfigs, pion.PacketConnConfig{
			PacketConn: d, RelayAddressGenerator: f, PermissionHandler: f.permit,
		})
	}
	for _, l := range s.cfg.Listeners {
		f := newFront(s)
		fronts = append(fronts, f)
		cfg.ListenerConfigs = append(cfg.ListenerConfigs, pion.ListenerConfig{
			Listener: &listener{Listener: l, front: f}, RelayAddressGenerator: f, PermissionHandler: f.permit,
		})
	}
	server, err := pion.NewServer(cfg)
	return server, fronts, err
}

// authenticate returns the user and the key of credentials.
func (s *Server) authenticate(ra *pion.RequestAttributes) (user string, key []byte, ok bool) {
	user, keyID, err := relay.ParseUsername(ra.Username, time.Now())
	if err != nil {
		return "", nil, false
	}
	if _, ok := s.cfg.Authorize(user); !ok {
		return "", nil, false
	}
	for _, k := range s.cfg.Keys(user) {
		if k.ID() == keyID {
			return user, turn.Key(ra.Username, ra.Realm, k.Password(ra.Username).Reveal()), true
		}
	}
	return "", nil, false
}

// Recheck closes the allocations of those who are no members any more, and forgets what they
// have used. It also takes members' new keys and names. Who changes what Authorize says calls it.
func (s *Server) Recheck() {
	s.mu.RLock()
	users := make([]string, 0, len(s.members))
	for user := range s.members {
		users = append(users, user)
	}
	s.mu.RUnlock()
	for _, user := range users {
		if m, ok := s.cfg.Authorize(user); ok {
			s.renew(user, m)
			continue
		}
		s.closeAllocations(func(a *allocation) bool { return a.user == user })
		s.mu.Lock()
		delete(s.members, user)
		s.mu.Unlock()
	}
}

// renew takes what has changed of a member.
func (s *Server) renew(user string, m Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.members[user]
	if u == nil || u.member == m {
		return
	}
	u.member = m
	for _, a := range s.live {
		if a.user == user {
			a.setOwner(m.Key)
		}
	}
}

func (s *Server) closeAllocations(which func(*allocation) bool) {
	s.mu.RLock()
	var list []*allocation
	for _, a := range s.live {
		if which(a) {
			list = append(list, a)
		}
	}
	s.mu.RUnlock()
	for _, a := range list {
		_ = a.Close()
	}
}

// replaceable is how long the client of an allocation asks for nothing until its owner may replace
// it, as after a crash: a client refreshes it each 20 s. What its peers send is no sign of life.
const replaceable = 30 * time.Second

// quota reports whether a user may have one more allocation. It closes one that
// its client has left for that.
func (s *Server) quota(user, _ string, from net.Addr) bool {
	origin := source(addrPortOf(from).Addr())
	s.mu.RLock()
	mine, there := 0, 0
	var oldest *allocation
	for _, a := range s.live {
		if source(a.client.Load().Addr()) == origin {
			there++
		}
		if a.user == user {
			mine++
			if oldest == nil || cmp.Less(a.last.Load(), oldest.last.Load()) {
				oldest = a
			}
		}
	}
	s.mu.RUnlock()
	if mine >= s.limits.AllocationsPerMember && time.Since(time.Unix(0, oldest.last.Load())) >= replaceable {
		_ = oldest.Close()
		mine--
	}
	if mine >= s.limits.AllocationsPerMember || there >= s.limits.AllocationsPerSource {
		s.refuse(user)
		return false
	}
	return true
}

func (s *Server) refuse(user string) {
	m, ok := s.cfg.Authorize(user)
	if !ok {
		return
	}
	s.mu.Lock()
	s.usageOf(user, m).refusedBy.Add(1)
	s.mu.Unlock()
}

package config

// socketSettings are for those who read the agent's status.
var socketSettings = []Setting{{
	Key: "controlSocketMode", Example: "0660", Restart: true,
	Help: "Mode of the control socket, octal; by default 0600, or 0660 with a group. Who may only connect can read the status.",
	at:   func(w *Wirespan) target { return scalar(&w.ControlSocketMode, parseSocketMode) },
}, {
	Key: "controlSocketGroup", Example: "adm", Restart: true,
	Help: "Group of the control socket, a name or number; by default the group wirespan, if there is one.",
	at:   func(w *Wirespan) target { return scalar(&w.ControlSocketGroup, parseGroup) },
}, {
	Key: "healthListen", Example: "127.0.0.1:9090", Restart: true,
	Help: "TCP address of /healthz, /readyz and /metrics over HTTP; a port alone means this host only.",
	at:   func(w *Wirespan) target { return scalar(&w.HealthListen, parseTCPListener) },
}}

// forwardSettings are for programs that know nothing of the mesh.
var forwardSettings = []Setting{{
	Key: "localForwards", Short: "L", Kind: KindWords, Example: "8080:node-2:80",
	Help: "Ports or sockets of this host that lead into the mesh: [BIND:]PORT:NODE:PORT[/udp] or /SOCKET:NODE:PORT.",
	at:   func(w *Wirespan) target { return list(&w.LocalForwards, parseForward(ForwardLocal), nil) },
}, {
	Key: "meshForwards", Short: "R", Kind: KindWords, Example: "80:127.0.0.1:8080,proxy,allow=node-2",
	Help: "Ports of this node in the mesh that lead to this host: PORT:HOST:PORT[/udp] or PORT:/SOCKET, then ,proxy (PROXY protocol) and ,allow=PEER.",
	at:   func(w *Wirespan) target { return list(&w.MeshForwards, parseForward(ForwardMesh), nil) },
}}

func parseForward(kind ForwardKind) func(string) (Forward, error) {
	return func(s string) (Forward, error) { return ParseForward(s, kind) }
}

// proxySettings are for the way into the mesh that needs no privileges.
var proxySettings = []Setting{{
	Key: "proxy.listen", Kind: KindList, Example: "1080,/run/wirespan/proxy.sock",
	Help: "Where programs find a SOCKS5 and HTTP proxy into the mesh: a port of this host only, ADDRESS:PORT, or the path of a unix socket.",
	at:   func(w *Wirespan) target { return list(&w.Proxy.Listen, ParseListener, nil) },
}, {
	Key: "proxy.egress", Values: []string{EgressMesh, EgressDirect}, Default: EgressMesh,
	Help: "Destinations outside the mesh: mesh refuses them, direct connects to them from this host.",
	at: func(w *Wirespan) target {
		return scalar(&w.Proxy.Egress, oneOf(EgressMesh, EgressDirect))
	},
}, {
	Key: "proxy.user", Default: "wirespan",
	Help: "User name for the proxy, if it has a password.",
	at:   func(w *Wirespan) target { return scalar(&w.Proxy.User, parseUser) },
}, {
	Key: "proxy.passwordFile", Example: "/run/secrets/proxy-password",
	Help: "File with the password that clients of the proxy must give, in its first line; without one they need none.",
	at:   func(w *Wirespan) target { return scalar(&w.Proxy.PasswordFile, parsePath) },
}, {
	Key: "proxy.allowUnauthenticated", Kind: KindBool, Default: "false",
	Help: "Let the proxy listen on addresses that other hosts reach, without a password.",
	at:   func(w *Wirespan) target { return scalar(&w.Proxy.AllowUnauthenticated, parseBool) },
}}

// dnsSettings are for the names of the mesh.
var dnsSettings = []Setting{{
	Key: "dns.enabled", Kind: KindBool, Default: "true",
	Help: "Answer DNS queries for names of the mesh at this node's mesh address, port 53, for nodes of the mesh and this host.",
	at:   func(w *Wirespan) target { return scalar(&w.DNS.Enabled, parseBool) },
}, {
	Key: "dns.listen", Kind: KindList, Example: "127.0.0.1:5300",
	Help: "Further addresses of the DNS server, for this host; a port alone means this host only.",
	at:   func(w *Wirespan) target { return list(&w.DNS.Listen, parseTCPListener, nil) },
}, {
	Key: "dns.domain", Default: "mesh",
	Help: "Domain of the mesh's names: NODENAME.mesh and NODEID.id.mesh.",
	at:   func(w *Wirespan) target { return scalar(&w.DNS.Domain, parseDomain) },
}, {
	Key: "dns.upstreams", Kind: KindList, Example: "192.0.2.53",
	Help: "DNS servers (ADDRESS or ADDRESS:PORT) that are asked for all other names; without them such queries are refused.",
	at:   func(w *Wirespan) target { return list(&w.DNS.Upstreams, parseUpstream, nil) },
}, {
	Key: "dns.register", Kind: KindBool, Default: "true",
	Help: "Have systemd-resolved ask this node for names of the mesh (TUN backend).",
	at:   func(w *Wirespan) target { return scalar(&w.DNS.Register, parseBool) },
}}

// limitSettings bound what programs can make the agent hold.
var limitSettings = []Setting{{
	Key: "limits.connections", Kind: KindInt, Default: "4096", Restart: true,
	Help: "Connections at once through each listener of the proxy, and through each forward.",
	at:   func(w *Wirespan) target { return scalar(&w.Limits.Connections, parseLimit) },
}, {
	Key: "limits.udpAssociations", Kind: KindInt, Default: "1024", Restart: true,
	Help: "UDP associations at once of each listener of the proxy, and of each forward.",
	at:   func(w *Wirespan) target { return scalar(&w.Limits.UDPAssociations, parseLimit) },
}, {
	Key: "limits.idleTimeout", Default: "24h", Restart: true,
	Help: "How long a connection through the proxy or a forward may move nothing; 0 for ever.",
	at:   func(w *Wirespan) target { return scalar(&w.Limits.IdleTimeout, parseDuration) },
}}

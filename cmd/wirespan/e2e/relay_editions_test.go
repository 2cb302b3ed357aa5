package e2e

// scenarioRelayEditions checks that an edge build without UDP uses the relay of a full build.
func scenarioRelayEditions(l *lab) {
	l.isPublic()
	q := l.host("q").node(settings("relay: offer", `discoveryListen: ":443"`))
	a, b, c := l.relayed("a", natUDPBlocked), l.relayed("b", natProxied), l.host("c").node("")
	edge := buildWith(l.T, "edge,grpcnotrace")
	a.binary, b.binary = edge, edge
	token := q.found()
	for _, n := range []*labNode{a, b, c} {
		n.join(token)
	}
	l.allUp(q, a, b, c)
	for _, pair := range [][2]*labNode{{a, q}, {a, b}, {a, c}, {b, c}, {b, q}} {
		eventually(l.T, relayTime, func() error { return relayedOnly(pair[0], pair[1], true) })
		pair[0].pings(pair[1])
	}
	a.downloads(c.web(), a.dial)
	c.downloads(b.web(), c.dial)
	for n, transport := range map[*labNode]string{a: "tls", b: "tls by proxy"} {
		relays := n.mustStatus().Relays
		if len(relays) != 1 || relays[0].Relay != "q" || relays[0].Transport != transport || !relays[0].Relayed.IsValid() {
			l.Errorf("%s uses %+v, want q by %s", n.name, relays, transport)
		}
	}
	a.configure(settings("relay: offer"))
	a.refusesEdge("reload")
}

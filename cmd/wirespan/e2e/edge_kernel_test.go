package e2e

// edgeNoNftables checks that a box without nftables uses a TUN with routes alone, and says so.
func edgeNoNftables(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot("WITHOUT=nf_tables")
	b.joins()
	b.condition("KernelLacks", "nf_tables")
	b.carries()
	b.runs("ip link show wirespan0")
}

// edgeWithout returns a scenario that checks that a box works whose kernel has nftables
// without some module, and whether its status says so: it does if the agent misses it.
func edgeWithout(module string, missed bool) func(*edgeLab, edgeMachine) {
	return func(l *edgeLab, m edgeMachine) {
		b := l.box(m).boot("WITHOUT=" + module)
		b.joins()
		if missed {
			b.condition("KernelLacks", module)
		}
		b.carries()
		b.runs("ip link show wirespan0")
	}
}

// edgeNoIPv6 checks that a box whose kernel has no IPv6, in which mesh addresses are, uses
// the netstack. The edge build, which has none, says so.
func edgeNoIPv6(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot("ipv6.disable=1")
	if !l.isFull(m) {
		b.refuses("edge build", "--join @/state/token")
		return
	}
	b.joins(netstackForwards)
	b.carriesByForwards()
}

// edgeNoTUN checks that a box without /dev/net/tun uses the netstack. The edge build, which
// has none, says so.
func edgeNoTUN(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot("WITHOUT=tun")
	if !l.isFull(m) {
		b.refuses("edge build", "--join @/state/token")
		return
	}
	b.joins(netstackForwards)
	b.carriesByForwards()
}

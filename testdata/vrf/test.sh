# Two nodes whose uplink is in a VRF with the only default route join a mesh: b with a rule for encrypted packets and
# sysctls, as the condition says, and c as "ip vrf exec" starts it. A founder, d, is as b.
set -u
D=/tmp/d bad=0
in_() { local h=$1; shift; ip netns exec "$h" "$@"; }
wrong() { echo "WRONG: $*"; bad=1; }
ws() { local h=$1; shift; in_ "$h" env WIRESPAN_CONTROL_SOCKET=$D/$h.sock WIRESPAN_STATE_DIR=$D/$h WIRESPAN_CONFIG=$D/$h.yaml wirespan "$@"; }
await() { local s=$1; shift; for ((i = 0; i < s * 2; i++)); do "$@" >/dev/null 2>&1 && return; sleep 0.5; done; wrong "not within $s s: $*"; return 1; }
start() { # HOST PREFIX… -- ARGUMENTS
	local h=$1 prefix=(); shift
	while [ "$1" != -- ]; do prefix+=("$1"); shift; done; shift
	mkdir -p -m 700 $D/$h; [ -e $D/$h.yaml ] || : >$D/$h.yaml; chmod 600 $D/$h.yaml
	in_ "$h" "${prefix[@]}" wirespan up --config $D/$h.yaml --state-dir $D/$h --control-socket $D/$h.sock --interface-name "ws$h" \
		--nodename "$h" --hostname "$h" --no-clock-fix --leave-on-stop=false "$@" >>$D/$h.log 2>&1 &
}
up() { ws "$1" status -o json | jq -e --arg p "$2" '.peers[]|select(.label==$p and .state=="up")'; }
condition() { ws "$1" status -o json | jq -e --arg t "$2" --arg w "$3" '.conditions[]|select(.type==$t and (.message|contains($w)))'; }
calm() { ws "$1" status -o json | jq -e '[.conditions[]?|select(.type=="UplinkInVRF" or .type=="Firewall")]|length==0'; }
announces() { ws a get affiliates -o json | jq -e --arg n "$1" --arg e "$2" '.[]|select(.spec.nodename==$n)|.spec.kubespan.endpoints|index($e)'; }
pings() { in_ "$1" ping -c 3 -i 0.2 -W 2 "$(ws a status -o json | jq -r .node.address)"; }

mkdir -p $D; ip netns add sw
ip -n sw link add br0 type bridge forward_delay 0; ip -n sw addr add 10.91.0.254/24 dev br0; ip -n sw link set br0 up
host() { # NAME NUMBER VRF
	ip netns add "$1"; ip -n "$1" link set lo up
	ip -n sw link add "p$1" type veth peer name eth0 netns "$1"; ip -n sw link set "p$1" master br0 up
	[ -z "$3" ] || { ip -n "$1" link add red type vrf table 10; ip -n "$1" link set red up; ip -n "$1" link set eth0 master red; }
	ip -n "$1" link set eth0 up; ip -n "$1" addr add "10.91.0.$2/24" dev eth0; ip -n "$1" route add default via 10.91.0.254 ${3:+vrf red}
}
host a 1 ''; host b 2 red; host c 3 red; host d 4 red; host e 5 ''
printf 'apiVersion: v1alpha1\nkind: WirespanConfig\nadvertisedNetworks: [10.91.0.0/24]\n' >$D/a.yaml
start a --; await 60 test -s $D/a/join-token; (umask 077; cp $D/a/join-token $D/token)

rule=(ip rule add fwmark 0x20/0x60 lookup 10 priority 1500)
sysctls() { in_ "$1" sysctl -qw net.ipv4.udp_l3mdev_accept="$2" net.ipv4.tcp_l3mdev_accept="$2"; }
for n in b d; do in_ $n "${rule[@]}"; sysctls $n 1; done
start d --; await 60 test -s $D/d/join-token; (umask 077; cp $D/d/join-token $D/token-d); start e -- --join @$D/token-d
await 60 up e d && await 60 up d e
start b -- --join @$D/token; start c ip vrf exec red -- --join @$D/token
for n in b c; do
	await 60 up $n a && await 60 up a $n
	await 20 announces $n "10.91.0.$([ $n = b ] && echo 2 || echo 3):51820"
	await 40 pings $n
	await 20 condition $n RouteRefused "10.91.0.254 (this node's gateway)"
	await 20 calm $n
done
in_ b ip rule del fwmark 0x20/0x60; await 60 condition b UplinkInVRF "ip rule add fwmark 0x20/0x60 lookup 10"
in_ b "${rule[@]}"; sysctls b 0; ws b reload; await 60 condition b UplinkInVRF "sysctl -w net.ipv4.udp_l3mdev_accept=1"
line=$(ws b status -o json | jq -r '.conditions[]|select(.type=="UplinkInVRF").message' | sed 's/.*run: //; s/, or start.*//')
in_ b sh -c "$line"; ws b reload; await 40 calm b; await 60 pings b
[ $bad = 0 ] || { for n in b c d e; do ws $n status; done; tail -n 20 $D/*.log; }
exit $bad

package node

import (
	"fmt"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
	"github.com/wirespan/wirespan/mesh"
)

const conditionVRF mesh.ConditionType = "UplinkInVRF"

// vrfs returns a condition for each VRF that has this host's default route, if encrypted
// packets do not pass it.
func (k *kernel) vrfs(p firewall.Policy) ([]mesh.Condition, error) {
	problems, err := k.VRFProblems(p.EncryptedMark)
	var out []mesh.Condition
	for _, v := range problems {
		out = append(out, mesh.Condition{Type: conditionVRF, Subject: v.Name + familyName(v.IPv6), Message: vrfAdvice(p.Numbers, v)})
	}
	return out, err
}

func familyName(v6 bool) string {
	if v6 {
		return " IPv6"
	}
	return " IPv4"
}

// vrfAdvice says what is wrong with a VRF, and the commands that mend it.
func vrfAdvice(n firewall.Numbers, v nft.VRFProblem) string {
	const accept = "sysctl -w net.ipv4.udp_l3mdev_accept=1 net.ipv4.tcp_l3mdev_accept=1"
	inside := fmt.Sprintf(", or start the agent in it: ip vrf exec %s wirespan up", v.Name)
	if v.Unheard {
		return fmt.Sprintf("encrypted packets leave by VRF %s, and those that it brings are not heard outside of it; run: %s%s", v.Name, accept, inside)
	}
	command := "ip rule"
	if v.IPv6 {
		command = "ip -6 rule"
	}
	return fmt.Sprintf("the default route is in VRF %s, and encrypted packets do not look there; run: %s add fwmark %#x/%#x lookup %d priority 1500 && %s%s",
		v.Name, command, n.EncryptedMark, n.Mask, v.Table, accept, inside)
}

package node

import (
	"fmt"
	"strings"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
	"github.com/wirespan/wirespan/mesh"
)

// lostTime is how long a condition tells of packets that have lost their mark.
const lostTime = 2 * time.Minute

// lostMarks watches whether encrypted packets lose their mark on this host.
type lostMarks struct {
	counts nft.LostMarks // as last read
	at     time.Time     // when there were last more of them
}

// note takes new counts.
func (l *lostMarks) note(now nft.LostMarks, at time.Time) {
	if now.Output != l.counts.Output && now.Output > 0 || now.Postrouting != l.counts.Postrouting && now.Postrouting > 0 {
		l.at = at
	}
	l.counts = now
}

// lostMarks returns a condition if encrypted packets have lost their mark lately. It
// names the chains that set marks.
func (k *kernel) lostMarks(p firewall.Policy) ([]mesh.Condition, error) {
	if p.ListenPort == 0 {
		return nil, nil
	}
	counts, err := k.LostMarks(p.Table)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	k.lost.note(counts, now)
	if k.lost.at.IsZero() || now.Sub(k.lost.at) >= lostTime {
		return nil, nil
	}
	chains, err := k.Markers(p.Table)
	if err != nil {
		return nil, err
	}
	return []mesh.Condition{{Type: mesh.ConditionMarkRewritten, Subject: "encrypted packets", Message: markAdvice(p.Numbers, chains)}}, nil
}

// markAdvice says what is wrong with marks, and the commands that mend it.
func markAdvice(n firewall.Numbers, chains []string) string {
	text := fmt.Sprintf("another program on this host changes the mark %#x of encrypted packets; they are recognised by their port and go out, but control connections may not; ", n.EncryptedMark)
	if len(chains) == 0 {
		return text + "look for what sets marks: nft list ruleset, iptables-legacy-save, tc filter show"
	}
	var commands []string
	for _, c := range chains {
		commands = append(commands, fmt.Sprintf("nft insert rule %s meta mark and %#x == %#x accept", c, n.Mask, n.EncryptedMark))
	}
	return text + "let it leave them alone: " + strings.Join(commands, "; ")
}

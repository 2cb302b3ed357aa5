package clamp

import (
	"encoding/binary"
	"math/bits"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/wirespan/wirespan/device/offload"
)

const (
	protoTCP  = 6
	tcpHeader = 20

	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagURG = 1 << 5

	optionEnd = 0
	optionNOP = 1
	optionMSS = 2
)

var big = binary.BigEndian

// packet is a TCP packet, or the first fragment of one.
type packet struct {
	from, to []byte // addresses
	ip       int    // size of the IP header
	tcp      []byte // with the data
}

// parse returns a TCP packet; of others ok is false.
func parse(b []byte) (p packet, ok bool) {
	switch {
	case len(b) >= ipv4.HeaderLen && b[0]>>4 == 4:
		p.ip = int(b[0]&15) * 4
		if b[9] != protoTCP || p.ip < ipv4.HeaderLen || big.Uint16(b[6:])&0x1fff != 0 {
			return p, false
		}
		p.from, p.to = b[12:16], b[16:20]
	case len(b) >= ipv6.HeaderLen && b[0]>>4 == 6:
		p.ip = ipv6.HeaderLen
		if b[6] != protoTCP {
			return p, false
		}
		p.from, p.to = b[8:24], b[24:40]
	default:
		return p, false
	}
	if len(b) < p.ip+tcpHeader {
		return p, false
	}
	p.tcp = b[p.ip:]
	return p, true
}

func (p *packet) flags() byte { return p.tcp[13] }

// clampMSS lowers the announced segment size of a SYN packet to what fits in packets of
// that size. Options that lie within do not count for it (RFC 6691). Without the option,
// the other side sends at most 536 bytes over IPv4 and 1220 over IPv6.
func (p *packet) clampMSS(limit int) {
	most := uint16(min(limit-p.ip-tcpHeader, 0xffff))
	end := min(int(p.tcp[12]>>4)*4, len(p.tcp))
	for at := tcpHeader; at < end; {
		switch kind := p.tcp[at]; {
		case kind == optionEnd:
			return
		case kind == optionNOP:
			at++
			continue
		case at+2 > end || p.tcp[at+1] < 2:
			return
		case kind == optionMSS && p.tcp[at+1] == 4 && at+4 <= end:
			if old := big.Uint16(p.tcp[at+2:]); old > most {
				big.PutUint16(p.tcp[at+2:], most)
				p.amend(old, most, at)
			}
			return
		}
		at += int(p.tcp[at+1])
	}
}

// amend corrects the checksum after two bytes at an offset in the header have changed
// (RFC 1624).
func (p *packet) amend(old, now uint16, at int) {
	if at%2 != 0 {
		old, now = bits.ReverseBytes16(old), bits.ReverseBytes16(now)
	}
	sum := uint64(^big.Uint16(p.tcp[16:])) + uint64(^old) + uint64(now)
	big.PutUint16(p.tcp[16:], ^offload.Fold(sum))
}

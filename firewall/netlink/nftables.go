package netlink

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Attributes, flags and user data of nftables (linux/netfilter/nf_tables.h) that
// package unix lacks.
const (
	AttrTableHandle      = 4
	AttrTableUserdata    = 6
	AttrChainFlags       = 10
	AttrSetHandle        = 16
	AttrElementKeyEnd    = 10
	FlagTableOwner       = 2
	UserdataTableComment = 0
	UserdataKeyByteOrder = 0
)

// Nftables is a netlink socket for nftables of family inet.
type Nftables struct{ socket }

// OpenNftables opens a socket for nftables.
func OpenNftables() (*Nftables, error) {
	n := &Nftables{}
	if err := n.open(unix.NETLINK_NETFILTER); err != nil {
		return nil, err
	}
	return n, nil
}

// Generation returns the number of the current generation. Every transaction, of
// any program, starts a new one.
func (n *Nftables) Generation() (uint32, error) {
	var id uint32
	err := n.Request(unix.NFT_MSG_GETGEN, func(*Encoder) {}, func(attributes []byte) {
		id = Uint32BE(Attribute(attributes, unix.NFTA_GEN_ID))
	})
	if err != nil {
		return 0, fmt.Errorf("ask for the nftables generation: %w", err)
	}
	return id, nil
}

// Request sends one request. Fill adds its attributes; each gets the attributes
// of every answer.
func (n *Nftables) Request(typ uint16, fill func(*Encoder), each func(attributes []byte)) error {
	return n.request(nftType(typ), 0, withNftHeader(fill), func(m Message) { each(nftAttributes(m)) })
}

// Dump requests all objects of a kind, and repeats that if they changed
// meanwhile. It calls restart before each attempt.
func (n *Nftables) Dump(typ uint16, fill func(*Encoder), restart func(), each func(attributes []byte)) error {
	return n.dump(nftType(typ), withNftHeader(fill), restart, func(m Message) { each(nftAttributes(m)) })
}

// DumpAll requests all objects of a kind in the tables of all families. It is Dump
// otherwise. Attributes are valid until each returns.
func (n *Nftables) DumpAll(typ uint16, restart func(), each func(family byte, attributes []byte)) error {
	return n.DumpFamily(unix.NFPROTO_UNSPEC, typ, func(*Encoder) {}, restart, each)
}

// DumpFamily is DumpAll for tables of one family.
func (n *Nftables) DumpFamily(family byte, typ uint16, fill func(*Encoder), restart func(), each func(family byte, attributes []byte)) error {
	header := func(e *Encoder) {
		e.b = append(e.b, family, unix.NFNETLINK_V0, 0, 0)
		fill(e)
	}
	return n.dump(nftType(typ), header, restart, func(m Message) {
		if len(m.Body) > 0 {
			each(m.Body[0], nftAttributes(m))
		}
	})
}

// nftHeader is the fixed part of messages about family inet (struct nfgenmsg).
var nftHeader = []byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}

func withNftHeader(fill func(*Encoder)) func(*Encoder) {
	return func(e *Encoder) {
		e.b = append(e.b, nftHeader...)
		fill(e)
	}
}

func nftAttributes(m Message) []byte { return m.Body[min(len(nftHeader), len(m.Body)):] }

func nftType(typ uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | typ }

// EventTable returns the name of the table of family inet that an event of
// [GroupNftables] is about; ok is false if there is none.
func EventTable(m Message) (name string, ok bool) {
	if len(m.Body) < len(nftHeader) || m.Body[0] != unix.NFPROTO_INET || m.Type == nftType(unix.NFT_MSG_NEWGEN) {
		return "", false
	}
	// The name is the first attribute of a table and of every object in one.
	table := Attribute(nftAttributes(m), unix.NFTA_TABLE_NAME)
	return Text(table), table != nil
}

package nft

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// snapshot is what a dump of a table says, without the elements of its sets.
type snapshot struct {
	exists     bool
	hasOwner   bool     // a process owns it, and the kernel lets no other change it
	marked     bool     // its comment is this program's
	tunnel     string   // the interface that the comment names
	noUserdata bool     // it has no comment, and no other user data
	names      []string // of its chains and sets
	// fingerprint changes with everything but elements and counters. An object that
	// can't change without getting another handle counts by its handle.
	fingerprint []string
}

// generation returns the current generation of nftables.
func (t *table) generation() (uint32, error) {
	if t.nl == nil {
		return 0, errNoNftables
	}
	id, err := t.nl.Generation()
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return 0, errNoNftables // nfnetlink is there, but no module handles nftables
	case err != nil:
		return 0, withAdvice(err)
	}
	return id, nil
}

// readHeader reads the table itself, without chains, rules and sets.
func (t *table) readHeader(name string) (snapshot, error) {
	var s snapshot
	if _, err := t.generation(); err != nil {
		return s, ignore(err, errNoNftables)
	}
	err := t.nl.Request(unix.NFT_MSG_GETTABLE, func(e *netlink.Encoder) {
		e.Text(unix.NFTA_TABLE_NAME, name)
	}, s.addTable)
	if errors.Is(err, unix.ENOENT) {
		return snapshot{}, nil
	}
	if err != nil {
		return snapshot{}, fmt.Errorf("read nftables table %s: %w", name, withAdvice(err))
	}
	return s, nil
}

// read reads the table, its chains, rules and sets.
func (t *table) read(name string) (snapshot, error) {
	s, err := t.readHeader(name)
	if err != nil || !s.exists {
		return s, err
	}
	kinds := []struct {
		typ uint16
		add func(attributes []byte)
	}{{unix.NFT_MSG_GETCHAIN, s.addChain}, {unix.NFT_MSG_GETRULE, s.addRule}, {unix.NFT_MSG_GETSET, s.addSet}}
	for _, k := range kinds {
		if err = t.readObjects(name, &s, k.typ, k.add); err != nil {
			return snapshot{}, fmt.Errorf("read nftables table %s: %w", name, withAdvice(orInterrupted(err)))
		}
	}
	return s, nil
}

// readObjects adds all objects of a kind in the table to the snapshot.
func (t *table) readObjects(name string, s *snapshot, typ uint16, add func(attributes []byte)) error {
	fingerprint, names := len(s.fingerprint), len(s.names)
	// The attribute of the table's name has the same number for all three kinds.
	return t.nl.Dump(typ, func(e *netlink.Encoder) {
		e.Text(unix.NFTA_CHAIN_TABLE, name)
	}, func() {
		s.fingerprint, s.names = s.fingerprint[:fingerprint], s.names[:names]
	}, func(attributes []byte) {
		if netlink.Text(netlink.Attribute(attributes, unix.NFTA_CHAIN_TABLE)) == name {
			add(attributes)
		}
	})
}

// orInterrupted replaces ENOENT: the object existed when the dump began.
func orInterrupted(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return netlink.ErrInterrupted
	}
	return err
}

func (s *snapshot) addTable(attributes []byte) {
	userdata := netlink.Attribute(attributes, netlink.AttrTableUserdata)
	s.exists, s.noUserdata = true, userdata == nil
	if len(userdata) > 2 && userdata[0] == netlink.UserdataTableComment {
		var program string
		program, s.tunnel, _ = strings.Cut(netlink.Text(userdata[2:]), " ")
		s.marked = program == commentPrefix
	}
	flags := netlink.Uint32BE(netlink.Attribute(attributes, unix.NFTA_TABLE_FLAGS))
	use := netlink.Uint32BE(netlink.Attribute(attributes, unix.NFTA_TABLE_USE))
	handle := netlink.Uint64BE(netlink.Attribute(attributes, netlink.AttrTableHandle))
	s.hasOwner = flags&netlink.FlagTableOwner != 0
	s.fingerprint = append(s.fingerprint, fmt.Sprintf("table %d flags %d use %d", handle, flags, use))
}

func (s *snapshot) addChain(attributes []byte) {
	name := netlink.Text(netlink.Attribute(attributes, unix.NFTA_CHAIN_NAME))
	handle := netlink.Uint64BE(netlink.Attribute(attributes, unix.NFTA_CHAIN_HANDLE))
	kind := netlink.Text(netlink.Attribute(attributes, unix.NFTA_CHAIN_TYPE))
	hook := netlink.Attribute(attributes, unix.NFTA_CHAIN_HOOK)
	policy := netlink.Uint32BE(netlink.Attribute(attributes, unix.NFTA_CHAIN_POLICY))
	flags := netlink.Uint32BE(netlink.Attribute(attributes, netlink.AttrChainFlags))
	s.names = append(s.names, name)
	s.fingerprint = append(s.fingerprint, fmt.Sprintf("chain %s %d %s %x %d %d", name, handle, kind, hook, policy, flags))
}

func (s *snapshot) addRule(attributes []byte) {
	chain := netlink.Text(netlink.Attribute(attributes, unix.NFTA_RULE_CHAIN))
	handle := netlink.Uint64BE(netlink.Attribute(attributes, unix.NFTA_RULE_HANDLE))
	s.fingerprint = append(s.fingerprint, fmt.Sprintf("rule %s %d", chain, handle))
}

func (s *snapshot) addSet(attributes []byte) {
	name := netlink.Text(netlink.Attribute(attributes, unix.NFTA_SET_NAME))
	handle := netlink.Uint64BE(netlink.Attribute(attributes, netlink.AttrSetHandle))
	timeout := netlink.Uint64BE(netlink.Attribute(attributes, unix.NFTA_SET_TIMEOUT))
	s.names = append(s.names, name)
	s.fingerprint = append(s.fingerprint, fmt.Sprintf("set %s %d %d", name, handle, timeout))
}

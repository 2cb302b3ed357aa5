package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// generation is a number that grows with every transaction of anybody.
func (s *socket) generation() (uint32, error) {
	var id uint32
	err := s.request(nftType(unix.NFT_MSG_GETGEN), 0, header, func(m message) {
		for typ, v := range attributes(nftBody(m)) {
			if typ == unix.NFTA_GEN_ID {
				id = be32(v)
			}
		}
	})
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return 0, errNoNftables // nfnetlink is there, but nobody handles nftables
	case err != nil:
		return 0, fmt.Errorf("ask for the nftables generation: %w", hinted(err))
	}
	return id, nil
}

// header is the fixed part of messages about tables of family inet.
func header(e *encoder) { e.b = append(e.b, unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0) }

func nftBody(m message) []byte { return m.body[min(4, len(m.body)):] }

// found is what a dump of a table gave.
type found struct {
	exists bool
	owned  bool     // by a process that nobody else may interfere with
	marked bool     // with our comment
	tunnel string   // that the comment names
	bare   bool     // without any userdata
	names  []string // of its chains and sets
	// shape is made of everything but elements and counters: what cannot be
	// changed without getting a new handle is in it by its handle.
	shape []string
}

// identify reads of the table only what it is itself.
func (s *socket) identify(table string) (found, error) {
	var f found
	err := s.request(nftType(unix.NFT_MSG_GETTABLE), 0, func(e *encoder) {
		header(e)
		e.str(unix.NFTA_TABLE_NAME, table)
	}, f.table)
	if errors.Is(err, unix.ENOENT) {
		return found{}, nil
	}
	if err != nil {
		return found{}, fmt.Errorf("read nftables table %s: %w", table, hinted(err))
	}
	return f, nil
}

// inspect reads the table, but not its sets' elements.
func (s *socket) inspect(table string) (found, error) {
	f, err := s.identify(table)
	if err != nil || !f.exists {
		return f, err
	}
	kinds := []struct {
		typ  uint16
		each func([]byte)
	}{{unix.NFT_MSG_GETCHAIN, f.chain}, {unix.NFT_MSG_GETRULE, f.rule}, {unix.NFT_MSG_GETSET, f.set}}
	for _, k := range kinds {
		if err != nil {
			break
		}
		mark, names := len(f.shape), len(f.names)
		// The table's name is the first attribute of all three.
		err = s.dump(nftType(k.typ), func(e *encoder) {
			header(e)
			e.str(unix.NFTA_CHAIN_TABLE, table)
		}, func() {
			f.shape, f.names = f.shape[:mark], f.names[:names]
		}, func(m message) {
			for typ, v := range attributes(nftBody(m)) {
				if typ == unix.NFTA_CHAIN_TABLE && text(v) == table {
					k.each(nftBody(m))
				}
			}
		})
	}
	if errors.Is(err, unix.ENOENT) {
		err = errInterrupted
	}
	if err != nil {
		return found{}, fmt.Errorf("read nftables table %s: %w", table, hinted(err))
	}
	return f, nil
}

func (f *found) table(m message) {
	f.exists, f.bare = true, true
	var handle uint64
	var flags, use uint32
	for typ, v := range attributes(nftBody(m)) {
		switch typ {
		case unix.NFTA_TABLE_FLAGS:
			flags = be32(v)
		case unix.NFTA_TABLE_USE:
			use = be32(v)
		case nftaTableHandle:
			handle = be64(v)
		case nftaTableUserdata:
			f.bare = false
			if len(v) > 2 && v[0] == udataTableComment {
				var first string
				first, f.tunnel, _ = strings.Cut(text(v[2:]), " ")
				f.marked = first == mark
			}
		}
	}
	f.owned = flags&nftTableOwnerFlag != 0
	f.shape = append(f.shape, fmt.Sprintf("table %d flags %d use %d", handle, flags, use))
}

func (f *found) chain(body []byte) {
	var name, kind string
	var hook []byte
	var handle uint64
	var policy, flags uint32
	for typ, v := range attributes(body) {
		switch typ {
		case unix.NFTA_CHAIN_NAME:
			name = text(v)
		case unix.NFTA_CHAIN_HANDLE:
			handle = be64(v)
		case unix.NFTA_CHAIN_HOOK:
			hook = v
		case unix.NFTA_CHAIN_TYPE:
			kind = text(v)
		case unix.NFTA_CHAIN_POLICY:
			policy = be32(v)
		case nftaChainFlags:
			flags = be32(v)
		}
	}
	f.names = append(f.names, name)
	f.shape = append(f.shape, fmt.Sprintf("chain %s %d %s %x %d %d", name, handle, kind, hook, policy, flags))
}

func (f *found) rule(body []byte) {
	var chain string
	var handle uint64
	for typ, v := range attributes(body) {
		switch typ {
		case unix.NFTA_RULE_CHAIN:
			chain = text(v)
		case unix.NFTA_RULE_HANDLE:
			handle = be64(v)
		}
	}
	f.shape = append(f.shape, fmt.Sprintf("rule %s %d", chain, handle))
}

func (f *found) set(body []byte) {
	var name string
	var handle, timeout uint64
	for typ, v := range attributes(body) {
		switch typ {
		case unix.NFTA_SET_NAME:
			name = text(v)
		case nftaSetHandle:
			handle = be64(v)
		case unix.NFTA_SET_TIMEOUT:
			timeout = be64(v)
		}
	}
	f.names = append(f.names, name)
	f.shape = append(f.shape, fmt.Sprintf("set %s %d %d", name, handle, timeout))
}

// elements reads a set.
func (s *socket) elements(table, set string) ([]element, error) {
	var out []element
	err := s.dump(nftType(unix.NFT_MSG_GETSETELEM), func(e *encoder) {
		header(e)
		e.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		e.str(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, func() { out = out[:0] }, func(m message) { out = appendElements(out, m) })
	if errors.Is(err, unix.ENOENT) {
		err = errInterrupted
	}
	if err != nil {
		return nil, fmt.Errorf("read set %s of nftables table %s: %w", set, table, hinted(err))
	}
	return out, nil
}

func appendElements(out []element, m message) []element {
	for typ, list := range attributes(nftBody(m)) {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for _, one, rest := cut(list); one != nil; _, one, rest = cut(rest) {
			out = append(out, parseElement(one))
		}
	}
	return out
}

// parseElement makes no iterators, since there are many elements.
func parseElement(b []byte) (e element) {
	for typ, v, rest := cut(b); v != nil; typ, v, rest = cut(rest) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			_, value, _ := cut(v)
			e.key, _ = netip.AddrFromSlice(value)
		case unix.NFTA_SET_ELEM_FLAGS:
			e.end = be32(v)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		}
	}
	return e
}

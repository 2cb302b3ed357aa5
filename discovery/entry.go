package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
	"unicode"
	"unicode/utf8"

	"github.com/wirespan/wirespan/mesh"
)

// RawAffiliate is one entry of a discovery server, sealed and untrusted.
type RawAffiliate struct {
	ID        string
	Data      []byte // empty if only endpoints from other members created the entry
	Endpoints [][]byte
}

// Problem reports invalid data of a discovery server, or data that it refuses. It is
// comparable, so that each problem is logged once.
type Problem struct {
	AffiliateID string // empty: concerns the whole service
	Reason      string
}

// Known is what is known of a member before its new data is opened.
type Known struct {
	Sequence uint64 // of its newest record; zero: it has never signed
	Verified bool   // the signature of this very data has been verified before
}

// Opened is the result of opening one [RawAffiliate].
type Opened struct {
	Affiliate  mesh.Affiliate // usable only if it has a NodeID
	Unreadable bool           // sealed with another secret, or damaged
	Problems   []Problem
}

// ReasonWrongSecret is the one problem reported when no affiliate can be read.
const ReasonWrongSecret = "no other affiliate can be decrypted: wrong cluster secret?"

// Collect returns the usable affiliates, sorted by node id, and all problems. If none of
// the affiliates with data can be decrypted, it returns one problem instead of one each.
func Collect(opened []*Opened) ([]mesh.Affiliate, []Problem) {
	opened = slices.Clone(opened)
	slices.SortFunc(opened, func(a, b *Opened) int { return cmp.Compare(a.Affiliate.NodeID, b.Affiliate.NodeID) })
	affiliates := make([]mesh.Affiliate, 0, len(opened))
	var problems []Problem
	unreadable := 0
	for _, o := range opened {
		if o.Unreadable {
			unreadable++
		}
		if o.Affiliate.NodeID != "" {
			affiliates = append(affiliates, o.Affiliate)
		}
		problems = append(problems, o.Problems...)
	}
	if unreadable > 0 && len(affiliates) == 0 {
		return nil, []Problem{{Reason: ReasonWrongSecret}}
	}
	sort.Slice(problems, func(i, j int) bool {
		a, b := problems[i], problems[j]
		return cmp.Or(cmp.Compare(a.AffiliateID, b.AffiliateID), cmp.Compare(a.Reason, b.Reason)) < 0
	})
	return affiliates, slices.Compact(problems)
}

// CheckID returns an error unless id can be an affiliate id: 1 to [MaxAffiliateIDLength]
// bytes of printable UTF-8.
func CheckID(id string) error {
	switch {
	case id == "":
		return errors.New("affiliate id is empty")
	case len(id) > MaxAffiliateIDLength:
		return fmt.Errorf("affiliate id has %d bytes, the limit is %d", len(id), MaxAffiliateIDLength)
	case !Printable(id):
		return errors.New("affiliate id isn't printable")
	}
	return nil
}

// Printable reports whether s is valid UTF-8 of printable characters. Other text
// must not get into terminals and logs.
func Printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

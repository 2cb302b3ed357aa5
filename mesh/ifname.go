package mesh

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// MaxInterfaceName is the length of the longest interface name in bytes: the
// kernel's IFNAMSIZ without the final zero byte.
const MaxInterfaceName = 15

// ErrNameTaken reports that the tunnel's interface was renamed and another one has its
// name, so that nothing may be routed by that name.
var ErrNameTaken = errors.New("another interface has its name now")

// CheckInterfaceName returns an error that says why no network interface may be
// created with that name. A valid name is printable ASCII that kernel and nftables
// take literally: '%' makes it a pattern for the kernel and '*' for nftables, whose
// text form also gives '"' and '\' a meaning.
func CheckInterfaceName(name string) error {
	reason := ""
	switch bad := strings.IndexFunc(name, func(r rune) bool { return r > '~' || notInLinkName(r) || strings.ContainsRune(`%*"\`, r) }); {
	case name == "":
		reason = "it is empty"
	case len(name) > MaxInterfaceName:
		reason = fmt.Sprintf("it is longer than %d bytes", MaxInterfaceName)
	case name == "." || name == "..":
		reason = "the kernel reserves it"
	case bad >= 0:
		reason = fmt.Sprintf("it contains %q", []rune(name[bad:])[0])
	default:
		return nil
	}
	return fmt.Errorf("%.100q is not an interface name: %s", name, reason)
}

// notInLinkName reports whether r is in no link name: the kernel refuses it, or
// it is a control character.
func notInLinkName(r rune) bool {
	return r == '/' || r == ':' || unicode.IsSpace(r) || unicode.IsControl(r)
}

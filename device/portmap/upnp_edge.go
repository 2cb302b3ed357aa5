//go:build edge

package portmap

// without is what the reports of this build add.
const without = "; UPnP takes the full build"

// newUPnP reports that this build has no UPnP, which takes HTTP and XML.
func newUPnP(link) (protocol, bool) { return nil, false }

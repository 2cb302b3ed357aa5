package mesh

import "strings"

// shortClusterID is the number of bytes of a cluster id that are shown.
const shortClusterID = 8

// ShortClusterID returns the beginning of a cluster id, as logs and status may
// show it: the whole is a credential. A byte outside printable ASCII shows as "?".
func ShortClusterID(id string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, id[:min(len(id), shortClusterID)])
}

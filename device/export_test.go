package device

import (
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Keepalives looks at all peers as if it were now.
func (d *Device) Keepalives(now time.Time) ([]mesh.Key, error) { return d.keepalives(now) }

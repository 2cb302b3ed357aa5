package device

import (
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// CheckKeepalives checks all peers as if it were now.
func (d *Device) CheckKeepalives(now time.Time) ([]mesh.Key, error) { return d.checkKeepalives(now) }

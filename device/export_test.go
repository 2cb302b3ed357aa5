package device

import (
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// CheckKeepalives checks all peers as if it were now. It returns those with which a handshake
// is due, and when to check again.
func (d *Device) CheckKeepalives(now time.Time) ([]mesh.Key, time.Time, error) {
	return d.checkKeepalives(now)
}

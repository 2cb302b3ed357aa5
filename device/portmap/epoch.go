package portmap

import "time"

// epoch follows the clock of a gateway, which starts anew when its mappings are lost.
type epoch struct {
	known   bool
	seconds uint32    // as last told
	at      time.Time // when that was
	doubt   bool      // a restart was noticed, and not reported yet
}

// restarted takes what the gateway's clock shows now, and reports whether it has lost its
// mappings since the last time (RFC 6886, section 3.6, which RFC 6887 takes up). A clock that is
// far ahead is another gateway's.
func (e *epoch) restarted(now time.Time, seconds uint32) bool {
	lost := e.doubt
	if e.known {
		elapsed := now.Sub(e.at).Seconds()
		told := float64(seconds) - float64(e.seconds)
		lost = lost || told < elapsed*7/8-2 || told > elapsed*9/8+2
	}
	*e = epoch{known: true, seconds: seconds, at: now}
	return lost
}

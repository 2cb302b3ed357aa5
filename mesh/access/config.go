package access

import "github.com/hashicorp/go-hclog"

// Config is what [Services] need.
type Config struct {
	Directory Directory
	Plane     Plane
	Outside   Outside
	Interface string // of the TUN; empty: there is none
	Log       hclog.Logger
}

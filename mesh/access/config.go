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

// Private is what a program needs to use a proxy of its own.
type Private struct {
	Address, User, Password string
}

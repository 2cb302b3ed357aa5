package nft

import "golang.org/x/sys/unix"

// VRFProblem says why encrypted packets do not pass a VRF that has the default route.
type VRFProblem struct {
	Name  string
	Table int
	IPv6  bool
	// Unheard says that packets go out by the VRF, but sockets outside of it get none
	// from it. Else none goes out: no rule leads those with the mark to its table.
	Unheard bool
}

// VRFProblems looks for VRFs that have the only default route for packets with a mark,
// which do not pass. There is no problem if this process runs in the VRF.
func (f *Firewall) VRFProblems(mark uint32) ([]VRFProblem, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rt := f.routing.rt
	vrfs, err := rt.VRFs()
	if err != nil || len(vrfs) == 0 {
		return nil, err
	}
	inside := boundDevice()
	for i := range vrfs {
		if vrfs[i].Name == inside {
			return nil, nil
		}
	}
	deaf := readSysctl("ipv4/udp_l3mdev_accept") == "0" // for both families
	var out []VRFProblem
	for _, family := range f.routing.families {
		table := rt.DefaultTable(family, mark)
		for _, v := range vrfs {
			problem := VRFProblem{Name: v.Name, Table: v.Table, IPv6: family == unix.AF_INET6, Unheard: v.Table == table}
			switch {
			case problem.Unheard && deaf:
				out = append(out, problem)
			case table != 0:
			default:
				has, err := rt.HasDefaultIn(family, v.Table)
				if err != nil {
					return nil, err
				}
				if has {
					out = append(out, problem)
				}
			}
		}
	}
	return out, nil
}

// boundDevice returns the interface to which new sockets of this process are bound, as by
// "ip vrf exec"; empty: to none.
func boundDevice() string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }()
	name, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	if err != nil {
		return ""
	}
	return name
}

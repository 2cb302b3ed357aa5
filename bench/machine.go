package bench

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// CPUTimes holds processor time summed over all cores, in ticks.
type CPUTimes struct {
	Busy  uint64 // neither idle, waiting for I/O nor stolen
	Steal uint64 // taken by the hypervisor for others
	Total uint64
}

// parseCPUTimes reads the first line of /proc/stat (proc_stat(5)).
func parseCPUTimes(stat string) (CPUTimes, error) {
	line, _, _ := strings.Cut(stat, "\n")
	field := strings.Fields(line)
	if len(field) < 9 || field[0] != "cpu" {
		return CPUTimes{}, errors.New("/proc/stat: no line of all processors")
	}
	var t CPUTimes
	for i, f := range field[1:9] { // guest time, after these, is within user time
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return CPUTimes{}, fmt.Errorf("/proc/stat: %.40q is not a count of ticks", f)
		}
		t.Total += n
		switch i {
		case 3, 4: // idle, iowait
		case 7:
			t.Steal = n
		default:
			t.Busy += n
		}
	}
	return t, nil
}

// Since returns the shares of all cores that were busy and stolen between an
// earlier reading and t.
func (t CPUTimes) Since(earlier CPUTimes) (busy, steal float64) {
	total := t.Total - earlier.Total
	if t.Total <= earlier.Total {
		return 0, 0
	}
	return share(t.Busy, earlier.Busy, total), share(t.Steal, earlier.Steal, total)
}

// share returns a counter's part of total. Counters may step back, as iowait and
// steal do; then it returns 0.
func share(now, earlier, total uint64) float64 {
	if now <= earlier {
		return 0
	}
	return min(1, float64(now-earlier)/float64(total))
}

// parseCPUInfo reads /proc/cpuinfo. It returns the model of the first processor,
// and whether its flags name a hypervisor.
func parseCPUInfo(info string) (model string, hypervisor bool) {
	rank := 0
	for _, line := range strings.Split(info, "\n") {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		key = strings.TrimSpace(key)
		if r := modelRank(key); r > rank && value != "" {
			model, rank = value, r
		}
		if key == "flags" && strings.Contains(" "+value+" ", " hypervisor ") {
			hypervisor = true
		}
	}
	return model, hypervisor
}

// modelRank returns how well a key of /proc/cpuinfo names the processor, 0 if it
// does not. The keys differ between architectures.
func modelRank(key string) int {
	switch key {
	case "model name":
		return 4
	case "cpu model": // MIPS
		return 3
	case "uarch": // RISC-V
		return 2
	case "Hardware", "Model": // ARM boards
		return 1
	}
	return 0
}

// virtualProducts are words in the DMI vendor or product of virtual machines, in
// any case.
var virtualProducts = []string{
	"QEMU", "KVM", "VMware", "VirtualBox", "Xen", "Amazon EC2", "Google Compute Engine", "Bochs", "OpenStack",
	"Firecracker", "Parallels", "BHYVE", "Virtual Machine", "DigitalOcean", "Hetzner",
}

// virtualization names the virtual machine by DMI's vendor and product and the
// processor's hypervisor flag. It returns "" on bare metal.
func virtualization(vendor, product string, hypervisor bool) string {
	name := strings.TrimSpace(vendor + " " + product)
	if strings.HasSuffix(product, ".metal") { // Amazon's bare-metal instances have the same vendor as its virtual machines
		return ""
	}
	for _, word := range virtualProducts {
		if strings.Contains(strings.ToLower(name), strings.ToLower(word)) {
			return name
		}
	}
	if !hypervisor {
		return ""
	}
	if name != "" {
		return name
	}
	return "hypervisor"
}

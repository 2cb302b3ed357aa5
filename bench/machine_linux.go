package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// ReadMachine describes this machine. Facts that it cannot read stay empty. The
// caller fills in Offloads, Version and CryptoPath.
func ReadMachine() Machine {
	model, hypervisor := parseCPUInfo(readFact("/proc/cpuinfo"))
	m := Machine{
		CPUModel:      model,
		Cores:         runtime.NumCPU(),
		Architecture:  runtime.GOARCH,
		Kernel:        readFact("/proc/sys/kernel/osrelease"),
		GoVersion:     runtime.Version(),
		Governor:      readFact("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
		TCPCongestion: readFact("/proc/sys/net/ipv4/tcp_congestion_control"),
	}
	m.Virtual = virtualization(readFact("/sys/class/dmi/id/sys_vendor"), readFact("/sys/class/dmi/id/product_name"), hypervisor)
	return m
}

// ReadCPU reads the processor time spent since boot.
func ReadCPU() (CPUTimes, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return CPUTimes{}, fmt.Errorf("reading processor time: %w", err)
	}
	return parseCPUTimes(string(data))
}

func readFact(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

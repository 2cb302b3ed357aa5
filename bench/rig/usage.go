package rig

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on every
// architecture that Go runs on.
const tick = time.Second / 100

// usage holds the resources that processes have used since they started.
type usage struct {
	user, system time.Duration
	peak         uint64 // peak resident memory, bytes
}

// since returns the CPU time used after an earlier reading. The peak is that of u.
func (u usage) since(earlier usage) usage {
	return usage{u.user - earlier.user, u.system - earlier.system, u.peak}
}

// usageOf returns the sum over processes, with all their threads.
func usageOf(pids []int) (usage, error) {
	var sum usage
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return usage{}, fmt.Errorf("read the usage of process %d: %w", pid, err)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return usage{}, fmt.Errorf("read the usage of process %d: %w", pid, err)
		}
		u, err := parseUsage(string(stat), string(status))
		if err != nil {
			return usage{}, fmt.Errorf("read the usage of process %d: %w", pid, err)
		}
		sum.user += u.user
		sum.system += u.system
		sum.peak += u.peak
	}
	return sum, nil
}

// parseUsage reads utime and stime (proc_pid_stat(5), fields 14 and 15) and
// VmHWM (proc_pid_status(5)).
func parseUsage(stat, status string) (usage, error) {
	// The command, in parentheses, may contain any characters.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return usage{}, errors.New("stat is too short")
	}
	user, err := strconv.ParseUint(fields[11], 10, 63)
	if err != nil {
		return usage{}, fmt.Errorf("user time: %w", err)
	}
	system, err := strconv.ParseUint(fields[12], 10, 63)
	if err != nil {
		return usage{}, fmt.Errorf("system time: %w", err)
	}
	u := usage{user: time.Duration(user) * tick, system: time.Duration(system) * tick}
	for _, line := range strings.Split(status, "\n") {
		text, ok := strings.CutPrefix(line, "VmHWM:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(text, "kB")), 10, 53)
		if err != nil {
			return usage{}, fmt.Errorf("peak memory: %w", err)
		}
		u.peak = kib << 10
	}
	return u, nil
}

// perGB returns CPU seconds per 10⁹ bytes.
func perGB(d time.Duration, bytes uint64) float64 {
	if bytes == 0 {
		return 0
	}
	return d.Seconds() / (float64(bytes) / 1e9)
}

package memory

import (
	"bufio"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	maxFile  = 64 << 10 // bytes read of a file
	maxDepth = 64       // levels of control groups that are read
)

// physicalMemory returns how many bytes this process may use: the machine's
// memory, or less if the process' control group or one above it has a limit. root
// is the root directory. If nothing is known, memory counts as unlimited.
func physicalMemory(root fs.FS) int64 {
	memory := int64(math.MaxInt64)
	eachLine(root, "proc/meminfo", func(line string) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil && n > 0 && n < 1<<50 {
				memory = n << 10
			}
		}
	})
	eachLine(root, "proc/self/cgroup", func(line string) {
		memory = min(memory, groupMemory(root, line))
	})
	return memory
}

// groupMemory returns the lowest limit of a control group and those above it. line
// is a line of /proc/self/cgroup (cgroups(7)): hierarchy:controllers:path.
func groupMemory(root fs.FS, line string) int64 {
	parts := strings.SplitN(line, ":", 3)
	if len(parts) != 3 {
		return math.MaxInt64
	}
	var dirs []string
	file := "memory.max"
	switch {
	case parts[0] == "0" && parts[1] == "":
		dirs = []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"}
	case slices.Contains(strings.Split(parts[1], ","), "memory"):
		dirs, file = []string{"sys/fs/cgroup/memory"}, "memory.limit_in_bytes"
	}
	memory := int64(math.MaxInt64)
	for _, dir := range dirs {
		group := path.Clean("/" + parts[2])
		// Inside a container the path may be the host's. Then only the top exists.
		for range maxDepth {
			memory = min(memory, limitIn(root, path.Join(dir, group, file)))
			if group == "/" {
				break
			}
			group = path.Dir(group)
		}
	}
	return memory
}

// limitIn reads a limit in bytes from a file. "max", 0 and anything that is not a
// number mean that there is no limit.
func limitIn(root fs.FS, name string) int64 {
	limit := int64(math.MaxInt64)
	eachLine(root, name, func(line string) {
		if n, err := strconv.ParseInt(line, 10, 64); err == nil && n > 0 {
			limit = min(limit, n)
		}
	})
	return limit
}

// eachLine calls do with each line of a file. A file that can't be read has no
// lines.
func eachLine(root fs.FS, name string, do func(line string)) {
	f, err := root.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	s := bufio.NewScanner(io.LimitReader(f, maxFile))
	for s.Scan() {
		do(s.Text())
	}
}

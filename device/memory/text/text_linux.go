package text

import (
	"bytes"
	"strconv"
	"syscall"
)

// small is the memory, in bytes, up to which a machine is short of it.
const small = 128 << 20

// Advice of madvise(2), which package syscall lacks on some architectures.
const (
	random   = 1 // MADV_RANDOM: no reading ahead
	dontNeed = 4 // MADV_DONTNEED: the pages leave the process, and are mapped again when they are used
)

func init() {
	growStack(0)
	if short = isShort(); short {
		advise(random)
	}
}

// short says that the machine is short of memory.
var short bool

func isShort() bool {
	var s syscall.Sysinfo_t
	if syscall.Sysinfo(&s) != nil {
		return false
	}
	ram := uint64(s.Totalram) //nolint:unconvert // of 32 bits on some architectures
	return ram*uint64(max(s.Unit, 1)) <= small
}

// Release gives back the pages of the program that were used so far. They stay in the page
// cache, so that those that are used again cost next to nothing. Where memory is short they
// would not stay there: then the kernel alone decides.
func Release() {
	if !short {
		advise(dontNeed)
	}
}

func advise(advice uintptr) {
	var b [2048]byte // the program's mappings are the first ones, and few
	for _, m := range readOnly(b[:readMaps(b[:])]) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, advice)
	}
}

// growStack makes the main goroutine's stack as large as commands need it, at once. To make it
// larger step by step the runtime looks up each function that is on it, anew at each step.
//
//go:noinline
func growStack(i int) byte {
	var room [24 << 10]byte
	return room[i]
}

func readMaps(b []byte) int {
	fd, err := syscall.Open("/proc/self/maps", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	n, _ := syscall.Read(fd, b)
	_ = syscall.Close(fd)
	return max(n, 0)
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// readOnly returns the mappings of the program that can't be written to, of a text in the
// form of /proc/PID/maps. They are of the same file as the first mapping, and follow it.
func readOnly(maps []byte) (list []mapping) {
	var program string // device and inode
	for {
		line, rest, whole := bytes.Cut(maps, []byte("\n"))
		f := bytes.Fields(line) // addresses, permissions, offset, device, inode, path
		if !whole || len(f) < 6 {
			return list
		}
		file := string(f[3]) + " " + string(f[4])
		if program == "" {
			program = file
		}
		if file != program {
			return list
		}
		start, end, _ := bytes.Cut(f[0], []byte("-"))
		from, err1 := strconv.ParseUint(string(start), 16, strconv.IntSize)
		to, err2 := strconv.ParseUint(string(end), 16, strconv.IntSize)
		if err1 == nil && err2 == nil && from < to && len(f[1]) > 1 && f[1][1] == '-' {
			list = append(list, mapping{uintptr(from), uintptr(to)})
		}
		maps = rest
	}
}

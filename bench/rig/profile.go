//go:build profile

package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"
)

const (
	// envProfile names the directory for CPU profiles of the processes that
	// wirespan's subjects run in. `make pgo` merges them.
	envProfile = "WIRESPAN_CPUPROFILE"
	// profileTime is the time that one file covers. The rig kills the processes in
	// the end, so profiles are written while they run.
	profileTime = 2 * time.Second
)

// profile writes profiles until the process ends. If one can't be written it ends
// the process: otherwise the benchmark would succeed without a profile.
func profile() {
	dir := os.Getenv(envProfile)
	if dir == "" {
		return
	}
	go func() {
		for n := 0; ; n++ {
			if err := profileOnce(filepath.Join(dir, fmt.Sprintf("%d-%d.pprof", os.Getpid(), n))); err != nil {
				fmt.Fprintf(os.Stderr, "CPU profile: %v\n", err)
				os.Exit(1)
			}
		}
	}()
}

// profileOnce writes one file. The file gets its name when it is complete.
func profileOnce(path string) error {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	time.Sleep(profileTime)
	pprof.StopCPUProfile()
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

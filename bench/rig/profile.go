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
	// envProfile names a directory for CPU profiles of the processes that our own
	// subjects run in: what `make pgo` merges.
	envProfile = "WIRESPAN_CPUPROFILE"
	// profileTime is what one file covers. Processes are killed in the end, so
	// what counts must be written before.
	profileTime = 2 * time.Second
)

// profile goes on until the process ends. A profile that can't be written ends
// it, since its report would not tell.
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

// profileOnce writes one file, which is there only when it is complete.
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

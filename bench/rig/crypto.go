package rig

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/sys/cpu"

	"github.com/wirespan/wirespan/bench"
)

// cryptoSizes are the packet sizes: small, medium, a full packet and a jumbo one.
var cryptoSizes = []int{64, 512, 1424, 8192}

// cryptoPath names the implementation of ChaCha20-Poly1305 that x/crypto uses on
// this processor.
func cryptoPath() string {
	switch runtime.GOARCH {
	case "amd64":
		if cpu.X86.HasAVX2 && cpu.X86.HasBMI2 {
			return "AVX2"
		}
		return "generic"
	case "arm64":
		return "NEON (ChaCha20), generic (Poly1305)"
	case "ppc64le", "ppc64", "s390x":
		return "vector"
	case "loong64":
		return "assembly"
	}
	return "generic"
}

// Crypto benchmarks the AEAD alone: it seals and opens packets on one core and on
// all cores.
func Crypto(ctx context.Context, c Config, progress func(Progress)) (*bench.Report, error) {
	o := bench.Options{Runs: c.Options.Runs, Duration: c.Options.Duration}
	if o.Runs < 1 || o.Runs > maxRuns || o.Duration < time.Millisecond || o.Duration > maxDuration {
		return nil, fmt.Errorf("%d runs of %s are out of range: 1 to %d runs of up to %s", o.Runs, o.Duration, maxRuns, maxDuration)
	}
	name := "ChaCha20-Poly1305"
	r := &bench.Report{
		Schema: bench.Schema, Kind: bench.KindCrypto, Started: time.Now(), Command: c.Command,
		Machine: bench.ReadMachine(), Options: o, Base: name,
		Subjects: []bench.Subject{{Name: name, Version: moduleVersion("golang.org/x/crypto"), Description: "golang.org/x/crypto; code path " + cryptoPath()}},
	}
	r.Machine.Version, r.Machine.CryptoPath = c.Version, cryptoPath()
	for i := range o.Runs {
		noise, busy, err := startNoise(ctx)
		if err != nil {
			return r, errInterrupted
		}
		run := bench.Run{Index: i, Subject: name, Started: time.Now(), Busy: busy, Values: make(map[string]float64)}
		for k, size := range cryptoSizes {
			steps := o.Runs * len(cryptoSizes)
			left := time.Duration(steps-i*len(cryptoSizes)-k) * 4 * o.Duration
			progress(Progress{Run: i + 1, Runs: o.Runs, Subject: name, What: fmt.Sprintf("%d B", size), Left: left})
			if ctx.Err() != nil {
				return r, errInterrupted
			}
			for cores, n := range map[string]int{"one": 1, "all": runtime.GOMAXPROCS(0)} {
				seal, open := aead(size, n, o.Duration)
				run.Values[fmt.Sprintf("crypto.seal.%d.%s", size, cores)] = seal
				run.Values[fmt.Sprintf("crypto.open.%d.%s", size, cores)] = open
			}
		}
		run.Steal = noise.steal()
		r.Runs = append(r.Runs, run)
		progress(Progress{Run: i + 1, Runs: o.Runs, Subject: name})
	}
	r.Finished = time.Now()
	return r, nil
}

// aead seals packets of a size on n cores for d, then opens packets for d, and
// returns the plaintext bytes per second of each.
func aead(size, n int, d time.Duration) (seal, open float64) {
	var key [chacha20poly1305.KeySize]byte
	var nonce [chacha20poly1305.NonceSize]byte
	all := func(opening bool) float64 {
		rates := make([]float64, n)
		var running sync.WaitGroup
		for i := range n {
			running.Go(func() {
				c, err := chacha20poly1305.New(key[:])
				if err != nil {
					return // only a key of wrong length fails, and the type rules that out
				}
				plain := make([]byte, size)
				sealed := c.Seal(nil, nonce[:], plain, nil)
				packets, start := 0, time.Now()
				for time.Since(start) < d {
					for range 64 {
						if opening {
							_, err = c.Open(plain[:0], nonce[:], sealed, nil)
						} else {
							sealed = c.Seal(sealed[:0], nonce[:], plain, nil)
						}
					}
					packets += 64
				}
				if err == nil {
					rates[i] = float64(packets*size) / time.Since(start).Seconds()
				}
			})
		}
		running.Wait()
		sum := 0.0
		for _, r := range rates {
			sum += r
		}
		return sum
	}
	return all(false), all(true)
}

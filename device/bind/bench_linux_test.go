package bind

import (
	"testing"

	"golang.zx2c4.com/wireguard/conn"
)

// shapes are the sizes of datagrams in batches as a device makes them.
var shapes = []struct {
	name string
	size func(i int) int
}{
	{"full", func(int) int { return 1452 }},
	{"ack", func(int) int { return 96 }},
	{"single", func(i int) int { return 1000 + i }}, // nothing to coalesce
	{"mixed", func(i int) int {
		if i%16 == 15 {
			return 96
		}
		return 1452
	}},
}

// BenchmarkBatch moves batches of 128 datagrams over loopback, with upstream's bind
// or this one at either end.
func BenchmarkBatch(b *testing.B) {
	binds := []struct {
		name string
		open func() conn.Bind
	}{
		{"upstream", conn.NewStdNetBind},
		{"ours", func() conn.Bind { return New(nil) }},
	}
	for _, shape := range shapes {
		for _, from := range binds {
			for _, to := range binds {
				b.Run(shape.name+"/"+from.name+"-"+to.name, func(b *testing.B) {
					benchmarkBatch(b, from.open(), to.open(), shape.size)
				})
			}
		}
	}
}

func benchmarkBatch(b *testing.B, from, to conn.Bind, size func(int) int) {
	_, _, err := from.Open(0)
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	fns, port, err := to.Open(0)
	if err != nil {
		b.Fatal(err)
	}
	defer to.Close()
	ep, err := from.ParseEndpoint(local4(port).String())
	if err != nil {
		b.Fatal(err)
	}
	in, out := newBatch(), newBatch()
	bytes := 0
	for i := range out.bufs {
		out.bufs[i] = out.bufs[i][:size(i)]
		bytes += size(i)
	}
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		if err := from.Send(out.bufs, ep); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < len(out.bufs); {
			n, err := fns[0](in.bufs, in.sizes, in.eps)
			if err != nil {
				b.Fatal(err)
			}
			for _, size := range in.sizes[:n] {
				if size > 0 {
					got++
				}
			}
		}
	}
}

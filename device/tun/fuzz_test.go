package tun

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzRead takes arbitrary messages. The first two bytes of each are its length.
func FuzzRead(f *testing.F) {
	for _, m := range [][]byte{
		segment{payload: numbered(3000)}.super(1000), segment{v6: true, udp: true, payload: numbered(900)}.super(100),
		segment{payload: numbered(100)}.single(),
	} {
		message := append([]byte{byte(len(m) >> 8), byte(len(m))}, m...)
		f.Add(bytes.Repeat(message, 3), uint16(1100), byte(7))
	}
	n, kernel := pair(f, offloads)
	end := single(segment{flow: 77})
	f.Fuzz(func(t *testing.T, data []byte, size uint16, count byte) {
		bufs, sizes := buffers(1+int(count)%128, front+100+int(size)%2000)
		guard := bytes.Repeat([]byte{0xaa}, 8)
		for i := range bufs {
			bufs[i] = append(bufs[i], guard...)[:len(bufs[i])]
		}
		for sent := 0; len(data) > 2 && sent < 8; sent++ {
			length := min(int(data[0])<<8|int(data[1]), len(data)-2)
			if _, err := unix.Write(kernel, data[2:2+length]); err != nil {
				t.Fatal(err)
			}
			data = data[2+length:]
		}
		if _, err := unix.Write(kernel, end.bytes); err != nil {
			t.Fatal(err)
		}
		for done := false; !done; {
			got, err := n.Read(bufs, sizes, front)
			if err != nil || got > len(bufs) {
				t.Fatal(got, err)
			}
			for i, buf := range bufs {
				if !bytes.Equal(buf[len(buf):len(buf)+len(guard)], guard) {
					t.Fatal("written behind a buffer's end")
				}
				if i < got {
					done = done || bytes.Equal(buf[front:front+sizes[i]], end.want[0])
				}
			}
		}
	})
}

package text

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestReadOnly(t *testing.T) {
	const static = `00400000-00a8f000 r-xp 00000000 fe:00 11                                 /usr/bin/wirespan
00a8f000-00e9f000 r--p 0068f000 fe:00 11                                 /usr/bin/wirespan
00e9f000-00f17000 rw-p 00a9f000 fe:00 11                                 /usr/bin/wirespan
00f17000-02f5c000 rw-p 00000000 00:00 0
c000000000-c000800000 rw-p 00000000 00:00 0
`
	for name, c := range map[string]struct {
		maps string
		want []mapping
	}{
		"static":         {static, []mapping{{0x400000, 0xa8f000}, {0xa8f000, 0xe9f000}}},
		"cut":            {static[:100], []mapping{{0x400000, 0xa8f000}}},
		"another's file": {strings.Replace(static, "fe:00 11", "fe:00 12", 1), []mapping{{0x400000, 0xa8f000}}},
		"empty":          {"", nil},
		"garbage":        {"x y z a b c\n-\n", nil},
	} {
		if got := readOnly([]byte(c.maps)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %x, want %x", name, got, c.want)
		}
	}
}

// The code of this process is in one of the mappings that are found.
func TestReadMaps(t *testing.T) {
	var b [2048]byte
	list, code := readOnly(b[:readMaps(b[:])]), reflect.ValueOf(TestReadMaps).Pointer()
	if !slices.ContainsFunc(list, func(m mapping) bool { return m.start <= code && code < m.end }) {
		t.Errorf("no mapping of %x in %x", code, list)
	}
}

// What is given back is not resident until it is used again.
func TestRelease(t *testing.T) {
	var b [2048]byte
	list := readOnly(b[:readMaps(b[:])])
	resident := func() (kb int) {
		smaps, err := os.ReadFile("/proc/self/smaps")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			_, after, ok := strings.Cut(string(smaps), fmt.Sprintf("%08x-%08x ", m.start, m.end))
			_, after, _ = strings.Cut(after, "\nRss:")
			f := strings.Fields(after)
			if !ok || len(f) == 0 {
				t.Fatalf("no mapping %x in %s", m, smaps)
			}
			n, _ := strconv.Atoi(f[0])
			kb += n
		}
		return kb
	}
	before := resident()
	Release()
	if after := resident(); after >= before {
		t.Errorf("%d kB resident, %d kB after the release", before, after)
	}
}

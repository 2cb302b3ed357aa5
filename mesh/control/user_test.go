package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// dialAs connects as another user. The credentials belong to a thread, which
// ends with its goroutine, and SO_PEERCRED tells those of the thread that
// connects.
func dialAs(uid uintptr, path string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
			err = errno
			return
		}
		var fd int
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		f := os.NewFile(uintptr(fd), path)
		defer f.Close()
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err == nil {
			conn, err = net.FileConn(f)
		}
	}()
	<-done
	return conn, err
}

// Others read what the socket's mode lets them, never secrets, and do nothing.
func TestControlForOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user takes root")
	}
	if runtime.GOARCH == "386" || runtime.GOARCH == "arm" {
		t.Skip("SYS_SETRESUID takes 16-bit ids on this architecture")
	}
	c := serveControl(t, nil)
	p := c.up()
	if _, err := dialAs(nobody, c.path); !errors.Is(err, unix.EACCES) {
		t.Errorf("another user reaches a socket of mode 0600: %v", err)
	}
	for dir := filepath.Dir(c.path); dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(c.path, 0o666); err != nil { // as for a member of the group
		t.Fatal(err)
	}
	other := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return dialAs(nobody, c.path) },
	}}
	for _, test := range []struct {
		method, target string
		code           int
	}{
		{"GET", "/v1/status", 200},
		{"GET", "/v1/health/ready", 200},
		{"GET", "/metrics", 501}, // allowed, but this server has none
		{"GET", "/v1/resources/KubeSpanIdentities.kubespan.talos.dev", 200},
		{"GET", "/v1/resources/KubeSpanIdentities.kubespan.talos.dev?secrets=1", 403},
		{"GET", "/v1/resources/KubeSpanIdentities.kubespan.talos.dev?watch=1&secrets=1", 403},
		{"POST", "/v1/reload", 403},
		{"POST", "/v1/leave", 403},
		{"POST", "/v1/accept?node=x", 403},
		{"POST", "/v1/forget?node=x", 403},
		{"POST", "/v1/token?uses=1&lifetime=1h", 403},
		{"POST", "/v1/ping?address=" + p.Address.String(), 403},
		{"POST", "/v1/netcheck", 403},
		{"CONNECT", "", 403},
	} {
		if code, body := request1(t, other, test.method, test.target); code != test.code {
			t.Errorf("%s %s = %d %q, want %d", test.method, test.target, code, body, test.code)
		}
	}
	if running, _ := c.found().State(); !running {
		t.Error("another user stopped the agent")
	}
	for held := 0; held < maxPerUser && t.Context().Err() == nil; {
		resp, err := other.Get("http://wirespan/v1/status?watch=1")
		if err != nil {
			continue // a connection from before is not closed yet
		}
		defer resp.Body.Close()
		held++
	}
	c.want("GET", "/v1/health/live", 200, "ok")
	if code, err := other.Get("http://wirespan/v1/health/live"); err == nil {
		_ = code.Body.Close()
		t.Errorf("a user with %d connections got another", maxPerUser)
	}
}

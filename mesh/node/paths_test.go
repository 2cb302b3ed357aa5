package node

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/unixsocket"
)

// userWith returns a user whose environment has only the given variables, on a system whose
// socket is out of reach.
func userWith(id int, environment ...string) user {
	return user{id, func(name string) string {
		for _, v := range environment {
			if k, value, _ := strings.Cut(v, "="); k == name {
				return value
			}
		}
		return ""
	}, "/nonexistent"}
}

func TestStateDir(t *testing.T) {
	const systemd, xdg, home = "STATE_DIRECTORY=/systemd", "XDG_STATE_HOME=/xdg", "HOME=/home/u"
	for name, test := range map[string]struct {
		configured string
		user       user
		want       string
	}{
		"configured":      {"/c", userWith(0, systemd, xdg, home), "/c"},
		"memory":          {config.StateMemory, userWith(1, systemd, xdg, home), config.StateMemory},
		"systemd":         {"", userWith(0, systemd, xdg, home), "/systemd"},
		"systemd, a user": {"", userWith(1, systemd, xdg, home), "/systemd"},
		"root":            {"", userWith(0, xdg, home), "/var/lib/wirespan"},
		"XDG":             {"", userWith(1, xdg, home), "/xdg/wirespan"},
		"home":            {"", userWith(1, home), "/home/u/.local/state/wirespan"},
		"no home":         {"", userWith(1), ""},
	} {
		c := &config.Config{}
		c.StateDir = test.configured
		got, err := test.user.stateDir(c)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, test.want)
		}
		if test.want == "" && !strings.Contains(err.Error(), "--state-dir") {
			t.Errorf("%s: the error does not name the flag: %v", name, err)
		}
	}
}

func TestControlSocket(t *testing.T) {
	const systemd, xdg, home = "RUNTIME_DIRECTORY=/run/a:/run/b", "XDG_RUNTIME_DIR=/run/user/1", "HOME=/home/u"
	const inMemory = "/tmp/wirespan-1"
	for name, test := range map[string]struct {
		configured, dir string
		user            user
		control, uapi   string
	}{
		"configured":         {"/c/s", "", userWith(1, systemd, xdg, home), "/c/s", "/c/wg0.sock"},
		"configured by root": {"/c/s", "", userWith(0, systemd, xdg, home), "/c/s", "/var/run/wireguard/wg0.sock"},
		"root":               {"", "", userWith(0, systemd, xdg, home), SystemSocket, "/var/run/wireguard/wg0.sock"},
		"systemd":            {"", "", userWith(1, systemd, xdg, home), "/run/a/wirespan.sock", "/run/a/wg0.sock"},
		"XDG":                {"", "", userWith(1, xdg, home), "/run/user/1/wirespan/wirespan.sock", "/run/user/1/wirespan/wg0.sock"},
		"state directory":    {"", "/state", userWith(1, home), "/state/wirespan.sock", "/state/wg0.sock"},
		"default state":      {"", "", userWith(1, home), "/home/u/.local/state/wirespan/wirespan.sock", "/home/u/.local/state/wirespan/wg0.sock"},
		"memory, systemd":    {"", config.StateMemory, userWith(1, systemd, xdg, home), inMemory + "/wirespan.sock", inMemory + "/wg0.sock"},
		"memory by root":     {"", config.StateMemory, userWith(0, home), SystemSocket, "/var/run/wireguard/wg0.sock"},
		"memory":             {"", config.StateMemory, userWith(1), inMemory + "/wirespan.sock", inMemory + "/wg0.sock"},
		"no home":            {"", "", userWith(1), "", ""},
		"too long":           {"", "/" + strings.Repeat("x", 100), userWith(1), "", ""},
	} {
		c := &config.Config{}
		c.ControlSocket, c.StateDir = test.configured, test.dir
		got, err := test.user.controlSocket(c)
		if got != test.control || (err != nil) != (test.control == "") {
			t.Errorf("%s: control socket %q, %v; want %q", name, got, err, test.control)
		}
		got, err = test.user.uapiSocket(c, "wg0")
		if (err != nil) != (test.uapi == "") || err == nil && got != test.uapi {
			t.Errorf("%s: wg(8) socket %q, %v; want %q", name, got, err, test.uapi)
		}
	}
}

// A user who owns the directory of the system's socket, or can make it, has the socket there.
func TestSystemSocket(t *testing.T) {
	const uid = 65532
	const systemd, xdg, home = "RUNTIME_DIRECTORY=/run/a", "XDG_RUNTIME_DIR=/run/user/1", "HOME=/home/u"
	writable, own, file := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.Mkdir(own+"/wirespan", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+"/wirespan", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	owner := os.Geteuid()
	if owner == 0 {
		owner = uid
		if err := os.Chown(own+"/wirespan", uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	stranger := owner + 1
	for name, test := range map[string]struct {
		id          int
		run         string
		state       string
		environment []string
		want        string
	}{
		"can make it":          {owner, writable, "", []string{xdg, home}, SystemSocket},
		"owner":                {owner, own, "", []string{xdg, home}, SystemSocket},
		"owner, memory":        {owner, own, config.StateMemory, nil, SystemSocket},
		"owner, systemd":       {owner, own, "", []string{systemd}, "/run/a/wirespan.sock"},
		"another's":            {stranger, own, "", []string{xdg}, "/run/user/1/wirespan/wirespan.sock"},
		"another's, memory":    {stranger, own, config.StateMemory, []string{xdg}, fmt.Sprintf("/tmp/wirespan-%d/wirespan.sock", stranger)},
		"not a directory":      {owner, file, "", []string{xdg}, "/run/user/1/wirespan/wirespan.sock"},
		"no runtime directory": {owner, writable + "/none", "", []string{xdg}, "/run/user/1/wirespan/wirespan.sock"},
	} {
		u := userWith(test.id, test.environment...)
		u.run = test.run
		c := &config.Config{}
		c.StateDir = test.state
		if got, err := u.controlSocket(c); got != test.want || err != nil {
			t.Errorf("%s: control socket %q, %v; want %q", name, got, err, test.want)
		}
	}
}

// Commands find an agent with its state in memory, whatever else their environment says.
func TestOtherSockets(t *testing.T) {
	u := userWith(1, "RUNTIME_DIRECTORY=/run/a", "XDG_RUNTIME_DIR=/run/user/1", "HOME=/home/u")
	c := &config.Config{}
	c.StateDir = config.StateMemory
	socket, err := u.controlSocket(c)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.otherSockets(); !slices.Equal(got, []string{socket, SystemSocket}) {
		t.Errorf("other sockets %q, the agent's is %q", got, socket)
	}
}

// An agent whose socket's directory cannot be written runs without a socket, unless one was
// asked for.
func TestMayLackSocket(t *testing.T) {
	readOnly := fmt.Errorf("control socket: %w", unix.EROFS)
	for _, test := range []struct {
		socket, state string
		err           error
		want          bool
	}{
		{"", "", readOnly, true},
		{"", "", unix.ENOSPC, true},
		{"/run/other.sock", "", readOnly, false},
		{"", "", unix.EACCES, false},
		{"", config.StateMemory, unix.EACCES, true},
		{"", config.StateMemory, unixsocket.ErrInUse, false},
	} {
		c := &config.Config{}
		c.ControlSocket, c.StateDir = test.socket, test.state
		if got := mayLackSocket(c, test.err); got != test.want {
			t.Errorf("socket %q, state %q, %v: %v", test.socket, test.state, test.err, got)
		}
	}
}

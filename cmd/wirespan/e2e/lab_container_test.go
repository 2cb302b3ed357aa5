package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// containerUser is the user of the image.
const containerUser = 65532

// container is a container of the image on a host, as Kubernetes makes it from the examples in
// deploy/kubernetes. Its root is read-only. It can write to two directories, which are root's
// and writable by all, and reads Secrets, which are root's and the user's group's.
type container struct {
	*labHost
	id, bundle, runtime string
	emulator            []string // command that runs the binary; empty for this machine's architecture
	uid                 int
	capabilities        []string
	mounts              []any
	env                 []string
	proc                *labProcess
}

// imageContainer unpacks the image for an architecture, by Go's name. The emulator is a static
// program, or empty. The node has an identity from a Secret, no capability and no way to gain
// one. The settings are variables, NAME=VALUE.
func (h *labHost) imageContainer(layout, arch, emulator string, settings ...string) *container {
	h.Helper()
	c := &container{
		labHost: h, id: h.ns, bundle: filepath.Join(h.dir, h.name), runtime: filepath.Join(h.dir, "runc"),
		uid: containerUser, env: settings,
	}
	h.must("umoci", "unpack", "--image", layout+":latest-"+arch, c.bundle)
	if emulator != "" {
		path, err := exec.LookPath(emulator)
		if err != nil {
			h.Fatal(err)
		}
		h.must("cp", path, filepath.Join(c.bundle, "rootfs/emulator"))
		c.emulator = []string{"/emulator"}
	}
	h.must(h.binary, "gen", "key", "--output-dir", c.secrets())
	c.mounts = []any{
		map[string]any{"destination": "/proc", "type": "proc", "source": "proc"},
		map[string]any{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
	}
	c.mount(c.emptyDir("run"), "/run", "rw", "nosuid", "nodev", "noexec")
	c.mount(c.emptyDir("state"), "/var/lib/wirespan", "rw", "nosuid", "nodev", "noexec")
	c.mount(c.secrets(), "/etc/wirespan", "ro")
	c.env = append(c.env, "WIRESPAN_STATE_DIR=/var/lib/wirespan/state", "WIRESPAN_JOIN=@/etc/wirespan/token")
	h.Cleanup(func() { _ = exec.Command("runc", "--root", c.runtime, "delete", "--force", c.id).Run() })
	return c
}

// privileged makes the node root, with what a TUN needs.
func (c *container) privileged() *container {
	c.uid, c.capabilities = 0, []string{"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"}
	c.mount("/dev/net/tun", "/dev/net/tun", "rw", "nosuid", "noexec")
	return c
}

// mount adds a path of the host.
func (c *container) mount(source, destination string, options ...string) {
	c.mounts = append(c.mounts, map[string]any{"destination": destination, "type": "bind", "source": source, "options": append(options, "bind")})
}

// configure completes the configuration that umoci made of the image's.
func (c *container) configure() {
	c.Helper()
	path := filepath.Join(c.bundle, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		c.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		c.Fatal(err)
	}
	process := spec["process"].(map[string]any)
	process["terminal"], process["noNewPrivileges"] = false, true
	process["user"] = map[string]any{"uid": c.uid, "gid": c.uid}
	process["capabilities"] = map[string]any{"bounding": c.capabilities, "effective": c.capabilities, "permitted": c.capabilities}
	for _, v := range c.env {
		process["env"] = append(process["env"].([]any), v)
	}
	args := process["args"].([]any)
	for _, a := range c.emulator {
		args = append([]any{a}, args...)
	}
	process["args"] = args
	spec["root"] = map[string]any{"path": "rootfs", "readonly": true}
	spec["mounts"] = c.mounts
	// The network namespace is that of the host, in which runc runs.
	spec["linux"] = map[string]any{"namespaces": []any{
		map[string]any{"type": "pid"}, map[string]any{"type": "ipc"}, map[string]any{"type": "uts"}, map[string]any{"type": "mount"},
	}}
	spec["hostname"] = c.name
	if data, err = json.Marshal(spec); err != nil {
		c.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		c.Fatal(err)
	}
}

// emptyDir makes a directory as Kubernetes makes an emptyDir.
func (c *container) emptyDir(name string) string {
	c.Helper()
	dir := filepath.Join(c.dir, c.name+"-"+name)
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)); err != nil {
		c.Fatal(err)
	}
	return dir
}

// secrets returns the directory that is /etc/wirespan in the container.
func (c *container) secrets() string { return filepath.Join(c.dir, c.name+"-secrets") }

// join starts the container with a join token.
func (c *container) join(token string) {
	c.Helper()
	if err := os.WriteFile(filepath.Join(c.secrets(), "token"), []byte(token), 0o400); err != nil {
		c.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(c.secrets(), "*"))
	if err != nil {
		c.Fatal(err)
	}
	for _, path := range files {
		c.must("chmod", "0440", path)
		c.must("chown", fmt.Sprintf("0:%d", c.uid), path)
	}
	c.must("chmod", "1777", c.secrets())
	c.configure()
	c.proc = c.spawn(c.name, c.runc("run", "--bundle", c.bundle, c.id)...)
}

// runc returns a command line of runc. It has the mounts of the test's process: ip(8) hides
// control groups, which runc needs.
func (c *container) runc(args ...string) []string {
	return append([]string{"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", os.Getpid()), "runc", "--root", c.runtime}, args...)
}

// cli runs a command of wirespan in the container as a user.
func (c *container) cli(uid int, args ...string) (string, error) {
	argv := slices.Concat(c.runc("exec", "--user", fmt.Sprintf("%d:%d", uid, uid), c.id), c.emulator, []string{"/usr/bin/wirespan"}, args)
	out, err := c.exec(argv...)
	return strings.TrimSpace(out), err
}

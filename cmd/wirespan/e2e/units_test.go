package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestUnits checks that systemd accepts the units, and that they allow what the agent
// needs.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	units, err := filepath.Glob("../../../deploy/*.service")
	if err != nil || len(units) < 2 {
		t.Fatalf("units %v: %v", units, err)
	}
	for _, path := range units {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), "/usr/bin/wirespan", "/bin/true")
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		// Without AF_INET6 the agent cannot use IPv6, and routes and refuses nothing of
		// it.
		if _, families, _ := strings.Cut(text, "\nRestrictAddressFamilies="); !strings.Contains(strings.SplitN(families, "\n", 2)[0], "AF_INET6") {
			t.Errorf("%s keeps IPv6 from the process", path)
		}
		// It would give the process a hostname of its own, which nobody changes.
		if strings.Contains(text, "\nProtectHostname=") {
			t.Errorf("%s keeps changes of the hostname from the process", path)
		}
	}
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is missing: apt-get install systemd")
	}
	for _, path := range units {
		out, err := exec.Command(tool, "verify", "--man=no", filepath.Join(dir, filepath.Base(path))).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
}

// agentCalls are the system calls of the agent, as strace(1) has shown them: founding,
// joining, both data planes, firewall, reload, a clock behind, leaving. In TestSystemd any
// other call that a unit does not allow kills the agent.
const agentCalls = `accept4 adjtimex bind capget capset clone close connect epoll_create1
	epoll_ctl epoll_pwait eventfd2 execve exit_group fchmod fchown fcntl flock fstat fsync futex geteuid
	getpeername getpid getrandom getrusage getsockname getsockopt gettid inotify_add_watch inotify_init1
	ioctl linkat listen madvise mkdirat mmap mprotect munmap nanosleep newfstatat openat prctl pread64
	prlimit64 read readlinkat readv recvfrom recvmmsg recvmsg renameat rt_sigaction rt_sigprocmask
	rt_sigreturn sched_getaffinity sched_yield sendmmsg sendmsg sendto setsockopt sigaltstack socket
	statfs tgkill timer_create timer_delete timer_settime uname unlinkat write writev`

// What the agent calls is in the filter of its unit. It may look at the clock's state, and
// not set the clock; a call that is not in the filter fails and kills nobody.
func TestUnitsSystemCalls(t *testing.T) {
	for path, calls := range map[string]string{
		"../../../deploy/wirespan.service":          agentCalls,
		"../../../deploy/wirespan-firewall.service": strings.ReplaceAll(agentCalls, "adjtimex", ""),
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			unit := readUnit(t, path)
			allowed := expandCalls(t, strings.Fields(unit["SystemCallFilter"])...)
			for _, call := range strings.Fields(calls) {
				if !slices.Contains(allowed, call) {
					t.Errorf("%s is not allowed", call)
				}
			}
			for _, call := range []string{"settimeofday", "clock_settime", "mount", "bpf", "ptrace", "init_module"} {
				if slices.Contains(allowed, call) {
					t.Errorf("%s is allowed", call)
				}
			}
			if unit["SystemCallErrorNumber"] != "EPERM" {
				t.Error("a system call that is not allowed kills the process")
			}
			if v, given := unit["ProtectClock"]; given {
				t.Errorf("ProtectClock=%s forbids adjtimex, too", v)
			}
		})
	}
}

// The agent is started when rules are restored, or they would wait for each other's lock.
func TestUnitsOrder(t *testing.T) {
	if after := readUnit(t, "../../../deploy/wirespan.service")["After"]; !slices.Contains(strings.Fields(after), "wirespan-firewall.service") {
		t.Errorf("wirespan.service is after %q", after)
	}
	if before := readUnit(t, "../../../deploy/wirespan-firewall.service")["Before"]; !slices.Contains(strings.Fields(before), "wirespan.service") {
		t.Errorf("wirespan-firewall.service is before %q", before)
	}
}

// readUnit returns the settings of a unit. Those that repeat are joined.
func readUnit(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	unit := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(string(data), -1) {
		unit[m[1]] = strings.TrimSpace(unit[m[1]] + " " + m[2])
	}
	return unit
}

// expandCalls replaces the sets of systemd by the system calls that are in them.
func expandCalls(t *testing.T, names ...string) (calls []string) {
	t.Helper()
	for _, name := range names {
		if !strings.HasPrefix(name, "@") {
			calls = append(calls, name)
			continue
		}
		out, err := exec.Command("systemd-analyze", "--no-pager", "syscall-filter", name).Output()
		if err != nil {
			t.Fatalf("systemd-analyze syscall-filter %s: %v", name, err)
		}
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(line); line != "" && line != name && !strings.HasPrefix(line, "#") {
				calls = append(calls, expandCalls(t, line)...)
			}
		}
	}
	return calls
}

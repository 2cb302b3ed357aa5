package bench

import "testing"

func TestParseCPUTimes(t *testing.T) {
	before, err := parseCPUTimes("cpu  100 5 50 800 20 3 2 10 40 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n")
	if err != nil || before != (CPUTimes{Busy: 160, Steal: 10, Total: 990}) {
		t.Fatalf("%+v, %v", before, err)
	}
	after, err := parseCPUTimes("cpu  120 5 60 850 20 3 2 30 40 0")
	if err != nil {
		t.Fatal(err)
	}
	if busy, steal := after.Since(before); busy != 0.3 || steal != 0.2 {
		t.Errorf("busy %v, steal %v", busy, steal)
	}
	if busy, steal := before.Since(after); busy != 0 || steal != 0 {
		t.Errorf("backwards: busy %v, steal %v", busy, steal)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x", "intr 1 2 3 4 5 6 7 8 9"} {
		if _, err := parseCPUTimes(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestParseCPUInfo(t *testing.T) {
	for _, c := range []struct {
		name, info, model string
		hypervisor        bool
	}{
		{"amd64", "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 97\nmodel name\t: AMD Ryzen 9\nflags\t\t: fpu hypervisor avx2\n\nprocessor\t: 1\nmodel name\t: AMD Ryzen 9\n", "AMD Ryzen 9", true},
		{"amd64 on metal", "model name\t: Intel(R) Xeon(R)\nflags\t\t: fpu avx2 hypervisors\n", "Intel(R) Xeon(R)", false},
		{"arm board", "processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4\n", "BCM2835", false},
		{"mips", "system type\t: MediaTek\ncpu model\t: MIPS 24Kc V5.5\n", "MIPS 24Kc V5.5", false},
		{"riscv", "processor\t: 0\nuarch\t: sifive,u74-mc\n", "sifive,u74-mc", false},
		{"nothing", "", "", false},
	} {
		if model, hypervisor := parseCPUInfo(c.info); model != c.model || hypervisor != c.hypervisor {
			t.Errorf("%s: %q, %v", c.name, model, hypervisor)
		}
	}
}

func TestVirtualization(t *testing.T) {
	for _, c := range []struct {
		vendor, product string
		hypervisor      bool
		want            string
	}{
		{"QEMU", "Standard PC (Q35 + ICH9, 2009)", true, "QEMU Standard PC (Q35 + ICH9, 2009)"},
		{"Amazon EC2", "c7g.large", false, "Amazon EC2 c7g.large"},
		{"Amazon EC2", "m5.metal", false, ""},
		{"Dell Inc.", "PowerEdge", false, ""},
		{"", "", true, "hypervisor"},
		{"", "", false, ""},
		{"Acme", "Cloud", true, "Acme Cloud"},
	} {
		if got := virtualization(c.vendor, c.product, c.hypervisor); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.vendor, c.product, got, c.want)
		}
	}
}

func TestReadMachine(t *testing.T) {
	if m := ReadMachine(); m.Cores < 1 || m.Kernel == "" || m.GoVersion == "" {
		t.Errorf("%+v", m)
	}
	now, err := ReadCPU()
	if err != nil || now.Total == 0 || now.Busy > now.Total {
		t.Errorf("%+v, %v", now, err)
	}
}

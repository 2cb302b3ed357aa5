package bench

import "time"

// Schema is the version of the JSON form. Within a version fields may be added,
// but no field changes its meaning.
const Schema = "wirespan.bench/1"

// Kinds of report.
const (
	KindLocal  = "local"  // subjects in turn on one machine
	KindRun    = "run"    // between two members of a mesh
	KindCrypto = "crypto" // AEAD alone
)

// Report holds everything that one call of the benchmark found.
type Report struct {
	Schema   string    `json:"schema"`
	Kind     string    `json:"kind"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"` // zero: interrupted
	Command  []string  `json:"command,omitempty"`
	Machine  Machine   `json:"machine"`
	Options  Options   `json:"options"`
	Base     string    `json:"base,omitempty"` // the subject that ratios refer to
	Subjects []Subject `json:"subjects"`       // in the order they run
	Runs     []Run     `json:"runs"`           // in the order they were made
	Notes    []string  `json:"notes,omitempty"`
}

// Machine describes the machine and its settings, on which the figures depend.
// A fact that could not be read is empty.
type Machine struct {
	CPUModel      string          `json:"cpuModel,omitempty"`
	Cores         int             `json:"cores,omitempty"`
	Architecture  string          `json:"architecture,omitempty"` // GOARCH
	Kernel        string          `json:"kernel,omitempty"`
	GoVersion     string          `json:"goVersion,omitempty"`
	Version       string          `json:"version,omitempty"` // of wirespan
	Governor      string          `json:"governor,omitempty"`
	Offloads      map[string]bool `json:"offloads,omitempty"`      // of the underlay link, by ethtool's names
	TCPCongestion string          `json:"tcpCongestion,omitempty"` // the system's default
	Virtual       string          `json:"virtual,omitempty"`       // hypervisor or product; empty on bare metal
	CryptoPath    string          `json:"cryptoPath,omitempty"`    // AEAD code in use, such as AVX2 or generic
}

// Options are the options that the benchmark was called with.
type Options struct {
	Runs        int           `json:"runs"`
	Duration    time.Duration `json:"durationNanoseconds"` // of one throughput measurement
	Streams     []int         `json:"streams,omitempty"`
	Payloads    []int         `json:"payloads,omitempty"`    // bytes; 0: fill the MTU
	MTU         int           `json:"mtu,omitempty"`         // of the tunnel; 0: the subject's default
	UnderlayMTU int           `json:"underlayMTU,omitempty"` // of the link that carries the tunnel
	RTT         time.Duration `json:"rttNanoseconds,omitempty"`
	Loss        float64       `json:"loss,omitempty"`       // fraction of packets lost on purpose
	GOMAXPROCS  int           `json:"gomaxprocs,omitempty"` // of Go subjects; 0: all cores
	Congestion  string        `json:"congestion,omitempty"` // TCP congestion control of the load
	Metrics     []string      `json:"metrics,omitempty"`    // ids or groups; empty: all
}

// Subject is one tunnel that was measured, or the plain link.
type Subject struct {
	Name        string `json:"name"`
	Version     string `json:"version,omitempty"`
	Description string `json:"description,omitempty"`
	Skipped     string `json:"skipped,omitempty"` // why it did not run
	Failed      string `json:"failed,omitempty"`  // why it stopped midway
	TunnelMTU   int    `json:"tunnelMTU,omitempty"`
}

// Run is one repetition of one subject.
type Run struct {
	Index   int                `json:"index"` // repetition, from 0; runs of one index are adjacent in time
	Subject string             `json:"subject"`
	Started time.Time          `json:"started"`
	Busy    float64            `json:"busy"`  // fraction of all cores that was busy before the run
	Steal   float64            `json:"steal"` // fraction that the hypervisor took, before and during the run
	Values  map[string]float64 `json:"values,omitempty"`
	Error   string             `json:"error,omitempty"` // why it ended early; Values hold what was measured before
}

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wirespan/wirespan/mesh"
)

// member returns the name of a Node with annotations in Talos' form, which no agent has made.
func member(number int) string { return fmt.Sprintf("member-%04d", number) }

// addMember makes the Node of a member that never answers, of the size that real ones have.
func (m *kubeMesh) addMember(number int) {
	m.Helper()
	if err := m.tryMember(number); err != nil {
		m.Fatal(err)
	}
}

func (m *kubeMesh) tryMember(number int) error {
	mac := binary.BigEndian.AppendUint32([]byte{2, 0}, uint32(number))
	address, err := mesh.NodeAddress(mesh.ULA(m.cluster), mac)
	if err != nil {
		return err
	}
	key := mesh.NewPrivateKey(random32()).Public()
	own := fmt.Sprintf("198.18.%d.%d", number>>8, number&255)
	labels := object{"kubernetes.io/hostname": member(number)}
	for i := range 12 {
		labels[fmt.Sprintf("example.org/label-%d", i)] = "value"
	}
	if err := m.send(http.MethodPost, "/api/v1/nodes", object{"metadata": object{
		"name": member(number), "labels": labels, "annotations": object{
			"cluster.talos.dev/node-id":                mesh.NodeIDFromBytes(key),
			"networking.talos.dev/self-ips":            own + "," + address.String(),
			"networking.talos.dev/kubespan-ip":         address.String(),
			"networking.talos.dev/kubespan-public-key": key.String(),
			"networking.talos.dev/kubespan-endpoints":  own + ":51820",
		},
	}}); err != nil {
		return err
	}
	return m.heartbeat(number, "2026-01-01T00:00:00Z")
}

// heartbeat writes the status of a member's Node as kubelets do every 5 minutes.
func (m *kubeMesh) heartbeat(number int, at string) error {
	images := make([]object, 50) // what a kubelet lists by default
	for i := range images {
		name := fmt.Sprintf("registry.example.org/team/project-%d/image", i)
		images[i] = object{
			"names":     []string{fmt.Sprintf("%s@sha256:%x", name, sha256.Sum256(fmt.Append(nil, number, i))), name + ":v1.2.3"},
			"sizeBytes": 50_000_000 + i,
		}
	}
	var conditions []object
	for _, typ := range []string{"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"} {
		conditions = append(conditions, object{
			"type": typ, "status": "False", "reason": "KubeletHasSufficient", "message": "kubelet has sufficient of it",
			"lastHeartbeatTime": at, "lastTransitionTime": "2026-01-01T00:00:00Z",
		})
	}
	resources := object{"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi", "hugepages-1Gi": "0", "hugepages-2Mi": "0"}
	return m.send(http.MethodPatch, "/api/v1/nodes/"+member(number)+"/status", object{"status": object{
		"addresses": []object{{"type": "Hostname", "address": member(number)}},
		"capacity":  resources, "allocatable": resources, "conditions": conditions, "images": images,
		"nodeInfo": object{
			"osImage": "Talos (v1.12.0)", "kernelVersion": "6.18.1-talos", "kubeletVersion": "v1.37.2",
			"containerRuntimeVersion": "containerd://2.2.0", "operatingSystem": "linux", "architecture": "amd64",
		},
	}})
}

// send sends an object as administrator.
func (k *kubernetes) send(method, path string, o object) error {
	contentType := "application/json"
	if method == http.MethodPatch {
		contentType = "application/strategic-merge-patch+json"
	}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	a, err := k.call(adminToken, method, path, contentType, body)
	if err == nil {
		err = a.is(http.StatusOK, http.StatusCreated)
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w", method, path, err)
	}
	return err
}

const (
	// kubernetesMegabytes is the memory that an agent may use for as many Nodes: 1 KB for each
	// beside that of a peer, and the code of the client.
	kubernetesMegabytes = crowdMegabytes + 8
	// statusBytes is what the status of a Node may cost on the way to an agent: 15 KB of JSON,
	// compressed, with headers.
	statusBytes = 6000
)

// kubernetesCrowd shows what an agent costs, and what it costs the API, in a cluster of 1,000
// Nodes whose kubelets write their status.
func kubernetesCrowd(l *lab, programs string) {
	host := l.host("a")
	m := l.kubeMesh(programs, host)
	a := m.agent(host, m.account("Node", "a"))
	a.up()
	eventually(l.T, time.Minute, func() error {
		if m.annotations("a")["wirespan.dev/affiliate"] == "" {
			return fmt.Errorf("a has not published itself")
		}
		return nil
	})
	alone := a.settled()
	var all errgroup.Group
	all.SetLimit(8)
	for i := range crowdSize {
		all.Go(func() error { return m.tryMember(i) })
	}
	if err := all.Wait(); err != nil {
		l.Fatal(err)
	}
	a.knowsCrowd()
	joining := a.settled()

	host.nft(`table inet count {
	counter in { }
	counter out { }
	chain in { type filter hook input priority 0; tcp sport 6443 counter name in; }
	chain out { type filter hook output priority 0; tcp dport 6443 counter name out; }
}`)
	m.requests()
	a.proc.end(l.T, syscall.SIGTERM)
	a.up()
	a.knowsCrowd()
	a.published()
	l.Logf("start with %d Nodes: %d bytes in, %d out; requests %v", crowdSize, a.counted("in"), a.counted("out"), m.requests())
	host.mustExec("nft", "reset", "counters")

	// A minute: each kubelet writes every 5 minutes.
	beat := time.NewTicker(time.Minute / (crowdSize / 5))
	defer beat.Stop()
	for i := range crowdSize / 5 {
		<-beat.C
		if err := m.heartbeat(i, "2026-01-01T00:05:00Z"); err != nil {
			l.Fatal(err)
		}
	}
	in, requests, settled := a.counted("in"), m.requests(), a.settlesBelow(kubernetesMegabytes)
	l.Logf("a minute with %d Nodes: %d bytes in, %d out; requests %v", crowdSize, in, a.counted("out"), requests)
	l.Logf("memory: %d KiB alone, %d KiB when %d Nodes had come, %d KiB after a start with them", alone, joining, crowdSize, settled)
	if in > crowdSize/5*statusBytes {
		l.Errorf("a status costs more than %d bytes", statusBytes)
	}
	if delete(requests, "watch"); len(requests) > 0 { // a watch ends now and then, and goes on
		l.Errorf("requests although nothing has changed: %v", requests)
	}
	if settled > kubernetesMegabytes*1000*1000/1024 {
		l.Errorf("a uses %d KiB", settled)
	}
}

// published waits until all sources have what the node announces.
func (n *labNode) published() {
	n.Helper()
	eventually(n.T, time.Minute, func() error {
		s, err := n.status()
		if err != nil {
			return err
		}
		for _, d := range s.Discovery {
			if !d.Published {
				return fmt.Errorf("%s is not published at %s: %s", n.name, d.Name, d.Error)
			}
		}
		return nil
	})
}

// knowsCrowd waits until the node has all members as peers.
func (n *labNode) knowsCrowd() {
	n.Helper()
	eventually(n.T, 2*time.Minute, func() error {
		s, err := n.status()
		if err == nil && len(s.Peers) < crowdSize {
			err = fmt.Errorf("%s has %d peers", n.name, len(s.Peers))
		}
		return err
	})
}

var countedBytes = regexp.MustCompile(`bytes (\d+)`)

// counted returns the bytes that a counter of the table count has seen.
func (h *labHost) counted(name string) int {
	h.Helper()
	found := countedBytes.FindStringSubmatch(h.mustExec("nft", "list", "counter", "inet", "count", name))
	if found == nil {
		h.Fatalf("no counter %s", name)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		h.Fatal(err)
	}
	return n
}

// requests returns how many requests agents have made since the last call, by verb.
func (k *kubernetes) requests() map[string]int {
	k.Helper()
	data, err := os.ReadFile(k.path("audit"))
	if err != nil {
		k.Fatal(err)
	}
	count := map[string]int{}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	for line := range strings.Lines(string(data[k.audited:])) {
		var event struct{ Verb, Stage string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			k.Fatal(err)
		}
		if event.Verb != "watch" || event.Stage == "ResponseStarted" { // that of a watch comes twice
			count[event.Verb]++
		}
	}
	k.audited = len(data)
	return count
}

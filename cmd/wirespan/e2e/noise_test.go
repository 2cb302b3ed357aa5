package e2e

import (
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"syscall"

	"golang.org/x/net/ipv4"
	wireguard "golang.zx2c4.com/wireguard/device"
)

// A round of noise is a batch of large datagrams, which occupy as many buffers, and
// batches of handshake messages, which keep buffers occupied.
const (
	noiseRounds     = 100
	noiseHandshakes = 30
)

// scenarioNoise checks that packets from strangers use little memory: large datagrams
// among many handshake messages, some of them valid for this device.
func scenarioNoise(l *lab) {
	a, live := l.host("a").tunnelEnd(1), l.host("b").tunnelEnd(2)
	a.runTUN()
	live.runTUN()
	live.meet(a, a.outer(false))
	a.meet(live, live.outer(false))
	a.mustExec("ping", "-c", "1", "-w", "25", live.inner)

	before := a.proc.memory(l.T, "VmHWM")
	l.host("c").makesNoise(a)
	kib := a.proc.memory(l.T, "VmHWM")
	l.Logf("the device used %d KiB at most, %d before", kib, before)
	if kib > dataPlaneMegabytes*1000*1000/1024 {
		l.Errorf("the device used %d KiB", kib)
	}
	a.mustExec("ping", "-c", "1", "-w", "25", live.inner)
	for _, e := range []*tunnelEnd{a, live} {
		if err := e.proc.running(); err != nil {
			l.Error(err)
		}
		e.proc.end(l.T, syscall.SIGTERM)
	}
}

// makesNoise sends all kinds of noise to a device.
func (h *labHost) makesNoise(to *tunnelEnd) {
	h.Helper()
	raw, err := h.dial(h.Context(), "udp4", to.outer(false).String())
	if err != nil {
		h.Fatal(err)
	}
	defer raw.Close()
	conn := ipv4.NewPacketConn(raw.(*net.UDPConn))
	large := noise(h, to, []noiseKind{
		{wireguard.MessageTransportType, 60_000, false},
		{wireguard.MessageTransportType, 1452, false},
		{9, 60_000, false},
	})
	handshakes := noise(h, to, []noiseKind{
		{wireguard.MessageInitiationType, wireguard.MessageInitiationSize, true},
		{wireguard.MessageInitiationType, wireguard.MessageInitiationSize, false},
		{wireguard.MessageResponseType, wireguard.MessageResponseSize, true},
		{wireguard.MessageResponseType, wireguard.MessageResponseSize, false},
		{wireguard.MessageCookieReplyType, wireguard.MessageCookieReplySize, false},
	})
	for range noiseRounds { // the check of the memory follows
		_, _ = conn.WriteBatch(large, 0)
		for range noiseHandshakes {
			_, _ = conn.WriteBatch(handshakes, 0)
		}
	}
}

// noiseKind describes a kind of random messages.
type noiseKind struct {
	typ   uint32
	size  int
	valid bool // with a valid first MAC, which takes the device's public key
}

// noise returns a batch of messages.
func noise(h *labHost, to *tunnelEnd, kinds []noiseKind) (batch []ipv4.Message) {
	h.Helper()
	key, err := base64.StdEncoding.DecodeString(to.public)
	if err != nil {
		h.Fatal(err)
	}
	var stamp wireguard.CookieGenerator
	stamp.Init(wireguard.NoisePublicKey(key))
	random := rand.NewChaCha8([32]byte{1})
	for i := range 64 {
		kind := kinds[i%len(kinds)]
		message := make([]byte, kind.size)
		_, _ = random.Read(message)
		binary.LittleEndian.PutUint32(message, kind.typ)
		if kind.valid {
			stamp.AddMacs(message)
		}
		batch = append(batch, ipv4.Message{Buffers: [][]byte{message}})
	}
	return batch
}

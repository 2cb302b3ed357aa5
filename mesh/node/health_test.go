package node

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/config"
)

// A port that another program has at one of the loopback addresses is an error, not a
// listener less.
func TestHealthPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	n := &Node{log: hclog.NewNullLogger(), config: &config.Config{}}
	n.config.HealthListen = config.Listener{Network: "tcp", Address: "localhost:" + port}
	if err := n.openHealth(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v, want %v", err, syscall.EADDRINUSE)
	}
	for _, l := range n.health {
		_ = l.Close()
	}
}

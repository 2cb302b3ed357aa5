package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh/agent"
)

// uapiDirectory is where wg(8) looks for userspace interfaces.
const uapiDirectory = "/var/run/wireguard"

// servedDevice is a device together with its wg(8) socket.
type servedDevice struct {
	*device.Device
	stop func()
}

// Close ends the socket, then the device.
func (d *servedDevice) Close() error {
	d.stop()
	return d.Device.Close()
}

// serveUAPI serves wg(8) beside the device. It is a convenience: a socket that
// can't be made is only warned of.
func serveUAPI(dev *device.Device, c *agent.Settings, log hclog.Logger) (stop func()) {
	dir := uapiDirectory
	if os.Geteuid() != 0 {
		control, err := controlSocket(c.Config)
		if err != nil {
			return func() {}
		}
		dir = filepath.Dir(control)
	}
	path := filepath.Join(dir, c.InterfaceName+".sock")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := dev.ServeUAPI(ctx, path); err != nil {
			log.Warn("wg(8) can't show this interface", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

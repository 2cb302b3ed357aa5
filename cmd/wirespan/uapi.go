package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
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
func serveUAPI(dev *device.Device, c *agent.Settings, p *dataPlane) (stop func()) {
	path, err := uapiSocket(c.Config, p.name)
	if err != nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := dev.ServeUAPI(ctx, path); err != nil {
			p.log.Warn("wg(8) can't show this interface", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// uapiSocket is where the wg(8) socket of an interface lies.
func uapiSocket(c *config.Config, name string) (string, error) {
	if os.Geteuid() == 0 {
		return filepath.Join(uapiDirectory, name+".sock"), nil
	}
	control, err := controlSocket(c)
	return filepath.Join(filepath.Dir(control), name+".sock"), err
}

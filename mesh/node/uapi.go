package node

import (
	"context"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh/agent"
)

// servedDevice is a device with its wg(8) socket.
type servedDevice struct {
	*device.Device
	stop func()
}

// Close closes the socket, then the device.
func (d *servedDevice) Close() error {
	d.stop()
	return d.Device.Close()
}

// serveUAPI serves the wg(8) socket of a device until stop is called. The node works
// without it: if the socket cannot be opened, it logs a warning only.
func serveUAPI(dev *device.Device, c *agent.Effective, p *dataPlane) (stop func()) {
	if !p.sockets {
		return func() {}
	}
	path, err := currentUser().uapiSocket(c.Config, p.name)
	if err != nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := dev.ServeUAPI(ctx, path); err != nil {
			p.log.Warn("wg(8) cannot show this interface", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

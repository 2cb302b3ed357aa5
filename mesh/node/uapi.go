package node

import (
	"context"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh/agent"
)

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
func serveUAPI(dev *device.Device, c *agent.Effective, p *dataPlane) (stop func()) {
	if p.machine.NoSockets {
		return func() {}
	}
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

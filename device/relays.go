package device

import (
	"context"
	"errors"
	"sync"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/mesh"
)

// relays are those that a device may use.
type relays struct {
	bind *relay.Bind
	set  *relay.Set
}

// openRelays returns the relays of a configuration; nil if it has none.
func openRelays(c Config) (*relays, error) {
	if c.Relays == nil {
		return nil, nil
	}
	b := relay.NewBind(c.Bind)
	set, err := relay.NewSet(c.Relays, b, c.Log)
	if err != nil {
		return nil, errors.Join(err, c.TUN.Close(), c.Bind.Close())
	}
	return &relays{b, set}, nil
}

// run keeps addresses until ctx ends, and notifies of changes.
func (r *relays) run(ctx context.Context, changed mesh.Signal) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { r.set.Run(ctx) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.set.Changed():
			changed.Notify()
		}
	}
}

// SetRelays says which relays to use, and how many at the same time.
func (d *Device) SetRelays(w mesh.RelayWish) {
	if d.relays != nil {
		d.relays.set.Set(w)
	}
}

// Relays returns what is known of the relays that are used, are tried or have failed, in the order
// of the wish. Events signals a change.
func (d *Device) Relays() []mesh.RelayStatus {
	if d.relays == nil {
		return nil
	}
	return d.relays.set.Relays()
}

// Shared returns the part of the device's port that speaks TURN, for a server. The caller
// closes it. It is nil for a device without relays.
func (d *Device) Shared() *relay.Shared {
	if d.relays == nil {
		return nil
	}
	return d.relays.bind.Shared()
}

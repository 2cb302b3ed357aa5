package device

import (
	"context"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// underwayTime is how long packets of an old session may be under way when the first
// message of the new one has come.
const underwayTime = 20 * time.Millisecond

// runSuccession sees to handshakes that standby peers start, until ctx ends or the device
// has stopped. While the device has such peers, answers are held: after a moment Called
// signals that one of them has called, and the next Apply that gives it its networks lets
// the answer go. It lets go at once what is for other peers.
func (d *Device) runSuccession(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.Done():
			return
		case <-d.gate.Held():
		}
		called, err := d.standbyCalled()
		if err != nil || !called {
			d.gate.SendAnswers()
			continue
		}
		pause.Reset(underwayTime)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		d.called.Notify()
	}
}

// standbyCalled reports whether a standby peer has started a handshake.
func (d *Device) standbyCalled() (called bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.get(query{peer: func(p *devicePeer) { called = called || d.standby[p.publicKey] && p.receive > 0 }})
	return called, err
}

// setStandby notes which peers are on standby, after the device has got its peers. Called
// are those that had started a handshake before. The caller holds mu.
func (d *Device) setStandby(peers []mesh.PeerConfig, called map[mesh.Key]bool) {
	old := d.standby
	d.standby = nil
	waiting := false
	for i := range peers {
		switch key := peers[i].PublicKey; {
		case peers[i].Standby:
			if d.standby == nil {
				d.standby = map[mesh.Key]bool{}
			}
			d.standby[key] = true
			waiting = waiting || called[key]
		case old[key]:
			d.gate.Patient()
		}
	}
	d.gate.HoldAnswers(d.standby != nil)
	if !waiting {
		d.gate.SendAnswers()
	}
}

// renew starts a handshake with each peer that has a session. Packets wait for it.
func (d *Device) renew() error {
	var peers []mesh.Key
	now := time.Now()
	if err := d.get(query{peer: func(p *devicePeer) {
		if p.hasSession(now) {
			peers = append(peers, p.publicKey)
		}
	}}); err != nil {
		return err
	}
	for _, key := range peers {
		d.initiate(key)
	}
	return nil
}

package path

import (
	"net/netip"
	"time"
)

// Constants of upstream's device.
const (
	rekeyTimeout     = 5 * time.Second
	rekeyAfter       = 120 * time.Second
	rejectAfter      = 180 * time.Second
	keepaliveTimeout = 10 * time.Second
	persistentTime   = 25 * time.Second
	floodTime        = 20 * time.Millisecond
	maxRetransmits   = 18
	maxStaged        = 128
)

type packetKind int

const (
	initiation packetKind = iota
	response
	data
	opener
)

type content int

const (
	keepalive content = iota
	payload
	echoRequest
	echoReply
	payloadReply
)

// packet is a datagram.
type packet struct {
	kind     packetKind
	from, to *node  // by their keys
	id       uint64 // of the initiation
	stamp    int64
	key      uint64
	content  content
	born     time.Time
}

type keypair struct {
	id        uint64
	created   time.Time
	initiator bool
	expired   bool
}

// timer is one of the device's timers.
type timer struct {
	armed bool
	gen   int
}

func (t *timer) stop() { t.armed, t.gen = false, t.gen+1 }

func (d *device) arm(t *timer, after time.Duration, do func()) {
	t.stop()
	t.armed = true
	gen := t.gen
	d.w.after(after, func() {
		if t.gen == gen {
			t.armed = false
			do()
		}
	})
}

// device models what upstream's WireGuard keeps for a peer.
type device struct {
	w         *world
	self, far *node
	endpoint  netip.AddrPort
	owner     hooks

	created                  uint64 // the initiation whose response is awaited; 0: none
	lastSent, lastConsumed   time.Time
	lastStamp                int64
	tries                    int
	current, next, previous  *keypair
	staged                   []packet
	retransmit, passive      timer
	newHandshake, persistent timer
	needAnother              bool
	sentLastMinute           bool
	lazy                     bool // there is a persistent keepalive in a session only
}

// hooks is who runs a device.
type hooks interface {
	initiated(p packet) // sends an initiation
	send(p packet)      // sends anything else to the endpoint
	responded()
	completed()
	received(p packet)
}

func (d *device) jitter() time.Duration { return time.Duration(d.w.rng.Intn(334)) * time.Millisecond }

func (d *device) id() uint64 {
	d.w.ids++
	return d.w.ids
}

// traversal puts off the persistent keepalive.
func (d *device) traversal() {
	if d.lazy && d.current == nil {
		return
	}
	d.arm(&d.persistent, persistentTime, d.sendKeepalive)
}

func (d *device) sendKeepalive() {
	if len(d.staged) == 0 {
		d.staged = append(d.staged, packet{kind: data})
	}
	d.flush()
}

// initiate is SendHandshakeInitiation.
func (d *device) initiate(retry bool) {
	if !retry {
		d.tries = 0
	}
	if d.w.now.Sub(d.lastSent) < rekeyTimeout {
		return
	}
	d.lastSent = d.w.now
	d.created = d.id()
	d.traversal()
	d.passive.stop()
	d.owner.initiated(packet{kind: initiation, from: d.self, to: d.far, id: d.created, stamp: d.w.now.UnixNano() >> 24})
	d.arm(&d.retransmit, rekeyTimeout+d.jitter(), d.expiredRetransmit)
}

func (d *device) expiredRetransmit() {
	if d.tries > maxRetransmits {
		d.passive.stop()
		d.staged = nil
		return
	}
	d.tries++
	d.initiate(true)
}

// expire is ExpireCurrentKeypairs.
func (d *device) expire() {
	d.created = 0
	d.lastSent = d.w.now.Add(-rekeyTimeout - time.Second)
	for _, k := range []*keypair{d.current, d.next} {
		if k != nil {
			k.expired = true
		}
	}
}

// rest is Stop and Start.
func (d *device) rest() {
	for _, t := range []*timer{&d.retransmit, &d.persistent, &d.passive, &d.newHandshake} {
		t.stop()
	}
	d.created, d.staged = 0, nil
	d.lastSent = d.w.now.Add(-rekeyTimeout - time.Second)
	d.current, d.previous, d.next = nil, nil, nil
}

func (d *device) sendData(c content, born time.Time) {
	if len(d.staged) == maxStaged {
		d.staged = d.staged[1:]
	}
	d.staged = append(d.staged, packet{kind: data, content: c, born: born})
	d.flush()
}

// flush is SendStagedPackets.
func (d *device) flush() {
	for len(d.staged) > 0 {
		k := d.current
		if k == nil || k.expired || d.w.now.Sub(k.created) >= rejectAfter {
			d.initiate(false)
			return
		}
		p := d.staged[0]
		d.staged = d.staged[1:]
		p.from, p.to, p.key = d.self, d.far, k.id
		d.traversal()
		d.passive.stop()
		d.owner.send(p)
		if p.content != keepalive && !d.newHandshake.armed {
			d.arm(&d.newHandshake, keepaliveTimeout+rekeyTimeout+d.jitter(), func() { d.initiate(false) })
		}
		if k.initiator && d.w.now.Sub(k.created) > rekeyAfter {
			d.initiate(false)
		}
	}
}

func (d *device) consumeInitiation(source netip.AddrPort, p packet) {
	if p.stamp <= d.lastStamp || d.w.now.Sub(d.lastConsumed) <= floodTime {
		return
	}
	d.lastStamp, d.lastConsumed, d.created = p.stamp, d.w.now, 0
	d.traversal()
	d.newHandshake.stop()
	d.endpoint = source
	d.lastSent = d.w.now
	k := &keypair{id: d.id(), created: d.w.now}
	d.next, d.previous = k, nil
	d.passive.stop()
	d.owner.send(packet{kind: response, from: d.self, to: d.far, id: p.id, key: k.id})
	d.owner.responded()
}

func (d *device) consumeResponse(source netip.AddrPort, p packet) {
	if d.created == 0 || p.id != d.created {
		return
	}
	d.created = 0
	d.endpoint = source
	d.traversal()
	d.newHandshake.stop()
	k := &keypair{id: p.key, created: d.w.now, initiator: true}
	if d.next != nil {
		d.previous, d.next = d.next, nil
	} else {
		d.previous = d.current
	}
	d.current = k
	d.complete()
	d.sendKeepalive()
}

func (d *device) complete() {
	d.retransmit.stop()
	d.tries, d.sentLastMinute = 0, false
	d.owner.completed()
}

func (d *device) consumeData(source netip.AddrPort, p packet) {
	var k *keypair
	for _, have := range []*keypair{d.current, d.next, d.previous} {
		if have != nil && have.id == p.key {
			k = have
		}
	}
	if k == nil || d.w.now.Sub(k.created) >= rejectAfter {
		return
	}
	d.endpoint = source
	if k == d.next {
		d.previous, d.current, d.next = d.current, d.next, nil
		d.complete()
		d.flush()
	}
	if c := d.current; c != nil && !d.sentLastMinute && c.initiator && d.w.now.Sub(c.created) > rejectAfter-keepaliveTimeout-rekeyTimeout {
		d.sentLastMinute = true
		d.initiate(false)
	}
	d.traversal()
	d.newHandshake.stop()
	if p.content != keepalive {
		d.dataReceived()
	}
	d.owner.received(p)
}

func (d *device) dataReceived() {
	if d.passive.armed {
		d.needAnother = true
		return
	}
	d.arm(&d.passive, keepaliveTimeout, func() {
		d.sendKeepalive()
		if d.needAnother {
			d.needAnother = false
			d.dataReceived()
		}
	})
}

func (d *device) receive(source netip.AddrPort, p packet) {
	switch p.kind {
	case initiation:
		d.consumeInitiation(source, p)
	case response:
		d.consumeResponse(source, p)
	case data:
		d.consumeData(source, p)
	}
}

package turn

import (
	"crypto/md5"
	"encoding/binary"
	"net/netip"

	"github.com/wirespan/wirespan/device/stun"
)

// Auth is what a request is signed with. The zero Auth signs nothing.
type Auth struct {
	Username     string
	Realm, Nonce []byte
	Key          []byte // of Key
}

// Key returns the key of long-term credentials.
func Key(username, realm, password string) []byte {
	sum := md5.Sum([]byte(username + ":" + realm + ":" + password))
	return sum[:]
}

// Builder appends a message to Bytes.
type Builder struct {
	Bytes []byte
	start int
}

// Begin begins a message after what is in b.
func Begin(b []byte, method, class int, id ID) Builder {
	m := Builder{Bytes: b, start: len(b)}
	m.Bytes = binary.BigEndian.AppendUint16(m.Bytes, typeOf(method, class))
	m.Bytes = append(m.Bytes, 0, 0) // the length; see Finish
	m.Bytes = binary.BigEndian.AppendUint32(m.Bytes, magicCookie)
	m.Bytes = append(m.Bytes, id[:]...)
	return m
}

// Transport asks for a relayed address of UDP.
func (m *Builder) Transport() { m.attribute(attrTransport, []byte{17, 0, 0, 0}) }

// Family asks for a relayed address of a family.
func (m *Builder) Family(family byte) { m.attribute(attrFamily, []byte{family, 0, 0, 0}) }

// Lifetime asks for a lifetime.
func (m *Builder) Lifetime(seconds uint32) {
	m.attribute(attrLifetime, binary.BigEndian.AppendUint32(nil, seconds))
}

// Channel names a channel.
func (m *Builder) Channel(number uint16) {
	m.attribute(attrChannel, []byte{byte(number >> 8), byte(number), 0, 0})
}

// Padding makes a message larger by a multiple of 4 bytes, so that its answer is not.
func (m *Builder) Padding(size int) { m.attribute(attrSoftware, make([]byte, size)) }

// AppendTime appends the server's time to a message that is complete and has no integrity. The
// slice may have to grow.
func AppendTime(b []byte, seconds int64) []byte {
	m := Builder{Bytes: b}
	m.attribute(attrTime, binary.BigEndian.AppendUint32(nil, uint32(seconds)))
	return m.Finish()
}

// Peer names a peer.
func (m *Builder) Peer(a netip.AddrPort) { m.address(attrPeer, a) }

func (m *Builder) address(kind uint16, a netip.AddrPort) {
	id := ID(m.Bytes[m.start+8:])
	mask := stun.AddressMask(&id)
	addr := a.Addr().Unmap()
	port := a.Port() ^ magicCookie>>16
	raw := addr.As16()
	ip, family := raw[:], byte(Family6)
	if addr.Is4() {
		ip, family = raw[12:], Family4
	}
	for i := range ip {
		ip[i] ^= mask[i]
	}
	m.header(kind, 4+len(ip))
	m.Bytes = append(m.Bytes, 0, family, byte(port>>8), byte(port))
	m.Bytes = append(m.Bytes, ip...)
}

// Data appends what is relayed.
func (m *Builder) Data(b []byte) { m.attribute(attrData, b) }

func (m *Builder) header(kind uint16, size int) {
	m.Bytes = binary.BigEndian.AppendUint16(m.Bytes, kind)
	m.Bytes = binary.BigEndian.AppendUint16(m.Bytes, uint16(size))
}

func (m *Builder) attribute(kind uint16, value []byte) {
	m.header(kind, len(value))
	m.Bytes = append(m.Bytes, value...)
	var zero [3]byte
	m.Bytes = append(m.Bytes, zero[:-len(value)&3]...)
}

// Sign appends credentials and their signature. Nothing may follow.
func (m *Builder) Sign(a Auth) {
	if a.Key == nil {
		return
	}
	m.attribute(attrUsername, []byte(a.Username))
	m.attribute(attrRealm, a.Realm)
	m.attribute(attrNonce, a.Nonce)
	m.attribute(attrIntegrity, sign(a.Key, m.Bytes[m.start:]))
}

// Finish sets the length of the message, and returns Bytes.
func (m *Builder) Finish() []byte {
	binary.BigEndian.PutUint16(m.Bytes[m.start+2:], uint16(len(m.Bytes)-m.start-headerSize))
	return m.Bytes
}

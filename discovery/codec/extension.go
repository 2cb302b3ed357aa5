package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/discovery/wire"
	"github.com/wirespan/wirespan/mesh"
)

// The extension is one field at the end of an affiliate's message, with a number that
// Sidero's messages don't use: Talos skips it. It is a message of its own, and its last 64
// bytes are the signature over everything before them.
const (
	extensionField wire.Number = 74_370

	sequenceField  wire.Number = 1  // varint
	instanceField  wire.Number = 2  // fixed64
	startField     wire.Number = 3  // varint
	flagsField     wire.Number = 4  // varint
	endpointField  wire.Number = 5  // address and port, big-endian; repeated
	networkField   wire.Number = 6  // address and prefix length; repeated
	nextKeyField   wire.Number = 7  // 32 bytes
	preparedField  wire.Number = 13 // first 8 bytes of a key; repeated
	secretField    wire.Number = 8  // varint: the number of the newest secret that the node has
	statementField wire.Number = 9  // of the mesh's authority, as that has signed it
	relayField     wire.Number = 10 // varint: the port of the relay that the node offers
	relayNetField  wire.Number = 12 // address and prefix length; repeated
	relayedField   wire.Number = 11 // varint: how many of the last endpoints are relayed addresses
	signatureField wire.Number = 15
)

// Bits of flagsField.
const (
	flagEphemeral = 1 << iota
	flagLeft
)

// Errors of an extension. All of them mean that the data is not from the node.
var (
	errExtension = errors.New("the record's extension is malformed, or not its only and last one")
	errSignature = errors.New("the record is not signed by the node whose id it has")
)

// signatureSize is the size of signatureField: tag, length and signature.
const signatureSize = 2 + mesh.SignatureSize

// extension is what the extension holds, without the signature.
type extension struct {
	record    mesh.Record
	endpoints []netip.AddrPort
	networks  []netip.Prefix // those that Talos must not see
	last      uint64         // of the endpoints: relayed addresses; while it is decoded
}

// appendSigned appends the extension to an encoded affiliate and signs both.
func appendSigned(plain []byte, cluster string, key mesh.NodeKey, x extension) []byte {
	body := x.encode()
	plain = wire.AppendLength(plain, extensionField, len(body)+signatureSize)
	plain = append(plain, body...)
	plain = wire.AppendLength(plain, signatureField, mesh.SignatureSize)
	signature := key.Sign(signedMessage(cluster, plain))
	return append(plain, signature[:]...)
}

// signedMessage returns what is signed: a label that no other use of the key has, the
// cluster id, and all bytes before the signature. These hold the node id, which is the
// key's public half.
func signedMessage(cluster string, plain []byte) []byte {
	const label = "wirespan affiliate 1\x00"
	m := make([]byte, 0, len(label)+4+len(cluster)+len(plain))
	m = append(m, label...)
	m = binary.BigEndian.AppendUint32(m, uint32(len(cluster)))
	m = append(m, cluster...)
	return append(m, plain...)
}

func (x *extension) encode() []byte {
	b := wire.AppendUint(nil, sequenceField, x.record.Sequence)
	b = wire.AppendFixed64(b, instanceField, x.record.Instance)
	b = wire.AppendUint(b, startField, x.record.Start)
	var flags uint64
	if x.record.Ephemeral {
		flags |= flagEphemeral
	}
	if x.record.Left {
		flags |= flagLeft
	}
	if flags != 0 {
		b = wire.AppendUint(b, flagsField, flags)
	}
	if x.record.SecretNumber != 0 {
		b = wire.AppendUint(b, secretField, x.record.SecretNumber)
	}
	b = wire.AppendPresent(b, statementField, x.record.Statement)
	if x.record.Relay != 0 {
		b = wire.AppendUint(b, relayField, uint64(x.record.Relay))
	}
	for _, p := range x.record.RelayNetworks {
		b = appendNetwork(b, relayNetField, p)
	}
	if n := x.relayed(); n != 0 {
		b = wire.AppendUint(b, relayedField, uint64(n))
	}
	for _, ep := range x.endpoints {
		b = wire.AppendBytes(b, endpointField, binary.BigEndian.AppendUint16(ep.Addr().Unmap().AsSlice(), ep.Port()))
	}
	for _, p := range x.networks {
		b = appendNetwork(b, networkField, p)
	}
	if next := x.record.NextKey; !next.IsZero() {
		b = wire.AppendBytes(b, nextKeyField, next[:])
	}
	for _, tag := range x.record.Prepared {
		b = wire.AppendBytes(b, preparedField, tag[:])
	}
	return b
}

func appendNetwork(b []byte, field wire.Number, p netip.Prefix) []byte {
	return wire.AppendBytes(b, field, append(p.Addr().AsSlice(), byte(p.Bits())))
}

// relayed returns how many of the last endpoints are relayed addresses.
func (x *extension) relayed() (n int) {
	for _, ep := range slices.Backward(x.endpoints) {
		if !slices.Contains(x.record.Relayed, ep) {
			break
		}
		n++
	}
	return n
}

// splitExtension looks for an extension. Found is false for an affiliate in Talos' form.
// An extension that isn't the last field, or one of two, is an error: a field after it
// would not be signed, but merged into the affiliate.
func splitExtension(plain []byte) (body []byte, found bool, err error) {
	f := wire.Read(plain)
	for f.Next() {
		if f.Number != extensionField {
			continue
		}
		if f.Type != wire.Bytes || !f.Last() {
			return nil, true, errExtension
		}
		return f.Bytes(), true, nil
	}
	if f.Err() != nil {
		return nil, false, errExtension
	}
	return nil, false, nil
}

// decode reads an extension without its signature, whose place it checks. It leaves out
// malformed fields.
func (x *extension) decode(c *cleaner, body []byte) error {
	if len(body) < signatureSize {
		return errExtension
	}
	end := body[len(body)-signatureSize:]
	field, kind, n := wire.Tag(end)
	if field != signatureField || kind != wire.Bytes || n != 1 || end[1] != mesh.SignatureSize {
		return errExtension
	}
	if err := x.decodeFields(c, body[:len(body)-signatureSize]); err != nil {
		return err
	}
	if x.record.Sequence == 0 || x.record.Start == 0 || x.record.Start > x.record.Sequence {
		return fmt.Errorf("the record has the sequence %d and the start %d", x.record.Sequence, x.record.Start)
	}
	return nil
}

// take reads one field. It ignores fields of later versions.
func (x *extension) take(c *cleaner, f *wire.Fields) {
	switch f.Type {
	case wire.Varint:
		switch v := f.Uint(); f.Number {
		case sequenceField:
			x.record.Sequence = v
		case startField:
			x.record.Start = v
		case flagsField:
			x.record.Ephemeral, x.record.Left = v&flagEphemeral != 0, v&flagLeft != 0
		case secretField:
			x.record.SecretNumber = v
		case relayField:
			x.record.Relay = c.port("port of a relay", uint32(min(v, 1<<16)))
		case relayedField:
			x.last = v
		}
	case wire.Fixed64:
		if f.Number == instanceField {
			x.record.Instance = f.Fixed64()
		}
	case wire.Bytes:
		switch v := f.Bytes(); f.Number {
		case endpointField:
			x.takeEndpoint(c, v)
		case networkField:
			if p, ok := takeNetwork(c, v); ok {
				x.networks = append(x.networks, p)
			}
		case relayNetField:
			if p, ok := takeNetwork(c, v); ok && len(x.record.RelayNetworks) < mesh.MaxRelayNetworks {
				x.record.RelayNetworks = append(x.record.RelayNetworks, p)
			}
		case statementField:
			x.takeStatement(c, v)
		case nextKeyField:
			x.takeNextKey(c, v)
		case preparedField:
			x.takePrepared(c, v)
		}
	}
}

func (x *extension) takeEndpoint(c *cleaner, v []byte) {
	split := max(len(v)-2, 0)
	if ip, ok := parseAddr(v[:split]); ok {
		if ep := netip.AddrPortFrom(ip, binary.BigEndian.Uint16(v[split:])); checkEndpoint(ep) == nil {
			x.endpoints = append(x.endpoints, ep)
			return
		}
	}
	c.drop("endpoint")
}

// takeStatement takes a statement of the mesh's authority, which it does not verify: only
// one that is newer than the known one is worth that.
func (x *extension) takeStatement(c *cleaner, v []byte) {
	if _, err := mesh.ParseStatement(v); err != nil {
		c.drop("statement")
		return
	}
	x.record.Statement = string(v)
}

func takeNetwork(c *cleaner, v []byte) (netip.Prefix, bool) {
	split := max(len(v)-1, 0)
	if ip, ok := netip.AddrFromSlice(v[:split]); ok {
		if p := netip.PrefixFrom(ip, int(v[split])); p.IsValid() && !ip.Is4In6() {
			return p, true
		}
	}
	c.drop("network")
	return netip.Prefix{}, false
}

func (x *extension) takeNextKey(c *cleaner, v []byte) {
	if len(v) != mesh.KeySize {
		c.drop("next key")
		return
	}
	x.record.NextKey = mesh.Key(v)
}

func (x *extension) takePrepared(c *cleaner, v []byte) {
	if len(v) != len(mesh.KeyTag{}) {
		c.drop("tag of a key")
		return
	}
	x.record.Prepared = append(x.record.Prepared, mesh.KeyTag(v))
}

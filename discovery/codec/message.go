package codec

import (
	"net/netip"

	"github.com/wirespan/wirespan/discovery/wire"
	"github.com/wirespan/wirespan/mesh"
)

// Fields of sidero.discovery.client.Affiliate.
const (
	nodeIDField          wire.Number = 1
	addressField         wire.Number = 2 // repeated
	hostnameField        wire.Number = 3
	nodenameField        wire.Number = 4
	machineTypeField     wire.Number = 5
	operatingSystemField wire.Number = 6
	kubeSpanField        wire.Number = 7
	controlPlaneField    wire.Number = 8
)

// Fields of the KubeSpan message.
const (
	publicKeyField  wire.Number = 1
	meshField       wire.Number = 2
	additionalField wire.Number = 3 // repeated
	excludedField   wire.Number = 4 // repeated
)

// Fields of the smaller messages.
const (
	ipField      wire.Number = 1 // of IPPrefix and Endpoint
	bitsField    wire.Number = 2 // of IPPrefix
	portField    wire.Number = 2 // of Endpoint
	apiPortField wire.Number = 1 // of ControlPlane
)

// message is a decoded affiliate, before it is checked. Its slices are part of the encoded
// form.
type message struct {
	nodeID, hostname, nodename, machineType, operatingSystem []byte
	addresses                                                [][]byte

	kubeSpan             bool
	publicKey, address   []byte
	additional, excluded []prefixMessage

	controlPlane bool
	apiPort      uint32
}

type prefixMessage struct {
	ip   []byte
	bits uint32
}

func (m *message) decode(plain []byte) error {
	f := wire.Read(plain)
	for f.Next() {
		var err error
		switch f.Number {
		case nodeIDField:
			m.nodeID = f.Bytes()
		case addressField:
			m.addresses = append(m.addresses, f.Bytes())
		case hostnameField:
			m.hostname = f.Bytes()
		case nodenameField:
			m.nodename = f.Bytes()
		case machineTypeField:
			m.machineType = f.Bytes()
		case operatingSystemField:
			m.operatingSystem = f.Bytes()
		case kubeSpanField:
			m.kubeSpan = true
			err = m.decodeKubeSpan(f.Bytes())
		case controlPlaneField:
			m.controlPlane = true
			err = m.decodeControlPlane(f.Bytes())
		}
		if err != nil {
			return err
		}
	}
	return f.Err()
}

func (m *message) decodeKubeSpan(b []byte) error {
	f := wire.Read(b)
	for f.Next() {
		var err error
		switch f.Number {
		case publicKeyField:
			m.publicKey = f.Bytes()
		case meshField:
			m.address = f.Bytes()
		case additionalField:
			m.additional, err = appendPrefix(m.additional, f.Bytes())
		case excludedField:
			m.excluded, err = appendPrefix(m.excluded, f.Bytes())
		}
		if err != nil {
			return err
		}
	}
	return f.Err()
}

func appendPrefix(list []prefixMessage, b []byte) ([]prefixMessage, error) {
	var p prefixMessage
	var err error
	p.ip, p.bits, err = decodePair(b, bitsField)
	return append(list, p), err
}

// decodePair decodes an address and a number.
func decodePair(b []byte, numberField wire.Number) (ip []byte, number uint32, err error) {
	f := wire.Read(b)
	for f.Next() {
		switch f.Number {
		case ipField:
			ip = f.Bytes()
		case numberField:
			number = uint32(f.Uint())
		}
	}
	return ip, number, f.Err()
}

func (m *message) decodeControlPlane(b []byte) error {
	f := wire.Read(b)
	for f.Next() {
		if f.Number == apiPortField {
			m.apiPort = uint32(f.Uint())
		}
	}
	return f.Err()
}

// encodeAffiliate returns the message of an affiliate.
func encodeAffiliate(a mesh.Affiliate) []byte {
	b := make([]byte, 0, 512)
	b = wire.AppendPresent(b, nodeIDField, a.NodeID)
	for _, ip := range a.Addresses {
		b = appendAddr(b, addressField, ip.Unmap())
	}
	b = wire.AppendPresent(b, hostnameField, a.Hostname)
	b = wire.AppendPresent(b, nodenameField, a.Nodename)
	machine := mesh.MachineUnknown
	if a.MachineType == mesh.MachineWorker {
		machine = mesh.MachineWorker
	}
	b = wire.AppendBytes(b, machineTypeField, string(machine))
	b = wire.AppendPresent(b, operatingSystemField, a.OperatingSystem)
	if a.PublicKey.IsZero() {
		return b
	}
	b, start := wire.Begin(b, kubeSpanField)
	b = wire.AppendBytes(b, publicKeyField, a.PublicKey.String())
	if a.Address.IsValid() {
		b = appendAddr(b, meshField, a.Address)
	}
	b = appendPrefixes(b, additionalField, a.AdditionalAddresses)
	b = appendPrefixes(b, excludedField, a.ExcludeAdvertisedNetworks)
	return wire.End(b, start)
}

// appendAddr appends a field with an address, without its zone.
func appendAddr(b []byte, field wire.Number, ip netip.Addr) []byte {
	if ip.Is4() {
		v := ip.As4()
		return wire.AppendBytes(b, field, v[:])
	}
	if ip.Is6() {
		v := ip.As16()
		return wire.AppendBytes(b, field, v[:])
	}
	return wire.AppendBytes(b, field, "")
}

func appendPrefixes(b []byte, field wire.Number, list []netip.Prefix) []byte {
	for _, p := range list {
		var start int
		b, start = wire.Begin(b, field)
		b = appendPair(b, p.Addr(), bitsField, uint32(p.Bits()))
		b = wire.End(b, start)
	}
	return b
}

// appendPair appends an address and a number, as [decodePair] reads them.
func appendPair(b []byte, ip netip.Addr, numberField wire.Number, number uint32) []byte {
	if ip.IsValid() {
		b = appendAddr(b, ipField, ip)
	}
	if number != 0 {
		b = wire.AppendUint(b, numberField, uint64(number))
	}
	return b
}

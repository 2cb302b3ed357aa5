package codec

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"net/netip"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// NonceSize is the length of the random nonce at the start of sealed affiliate data.
const NonceSize = 12

// ErrUnreadable reports that sealed affiliate data fails authentication: it was sealed
// with another cluster secret, or damaged.
var ErrUnreadable = errors.New("data can't be decrypted: wrong cluster secret?")

// Cluster is what sealing and opening need to know of a cluster.
type Cluster struct {
	ID     string // signed together with every affiliate
	Secret mesh.Secret
}

// SealAffiliate encodes and encrypts a member's own affiliate. The nonce must be random
// and used only once. Endpoints travel beside an affiliate (see [SealEndpoint]); if the
// affiliate has a record, it is signed with key, and the signed part holds them, too.
//
// The control plane part is not written, and a machine type other than worker becomes
// unknown: Talos uses both for the load balancing of its control plane. Networks broader
// than a /8 travel in the signed part alone, so that Talos never routes them.
//
// Data above [discovery.MaxAffiliateDataSize] is an error. To avoid it, signed endpoints
// are left out from the end, and then the operating system, the hostname, the tags of keys
// and the statement of the mesh's authority; cut names what was left out.
func SealAffiliate(c Cluster, key mesh.NodeKey, a mesh.Affiliate, nonce [NonceSize]byte) (blob []byte, cut string, err error) {
	if a.NodeID == "" {
		return nil, "", errors.New("seal affiliate: no node id")
	}
	if a.Record.Signed() && key.NodeID() != a.NodeID {
		return nil, "", errors.New("seal affiliate: the key is not that of the node id")
	}
	aead := newGCM(c.Secret)
	for {
		plain := encodeSigned(c.ID, key, a)
		size := NonceSize + len(plain) + aead.Overhead()
		if size <= discovery.MaxAffiliateDataSize {
			return aead.Seal(nonce[:], nonce[:], plain, nil), cut, nil
		}
		if cut = shorten(&a, cut); cut == "" {
			return nil, "", fmt.Errorf("seal affiliate: %d bytes, the limit is %d: announce fewer addresses or networks; what was announced before stays announced", size, discovery.MaxAffiliateDataSize)
		}
	}
}

// shorten leaves out what others can do without. It returns "" if nothing is left.
func shorten(a *mesh.Affiliate, cut string) string {
	switch {
	case a.Record.Signed() && len(a.Endpoints) > 1:
		a.Endpoints = a.Endpoints[:len(a.Endpoints)-1]
		return "signed endpoints"
	case a.OperatingSystem != "":
		a.OperatingSystem = ""
		return join(cut, "operating system")
	case a.Hostname != "":
		a.Hostname = ""
		return join(cut, "hostname")
	case len(a.Record.Prepared) > 0: // the others wait for a while, and then change their keys
		a.Record.Prepared = nil
		return join(cut, "keys that others change to")
	case a.Record.Statement != "":
		a.Record.Statement = ""
		return join(cut, "the authority's statement")
	}
	return ""
}

func join(list, item string) string {
	if list == "" {
		return item
	}
	return list + ", " + item
}

// encodeSigned returns the plaintext of an affiliate, signed if it has a record.
func encodeSigned(cluster string, key mesh.NodeKey, a mesh.Affiliate) []byte {
	var hidden []netip.Prefix
	a.AdditionalAddresses, hidden = divide(a.AdditionalAddresses)
	plain := encodeAffiliate(a)
	if !a.Record.Signed() {
		return plain
	}
	return appendSigned(plain, cluster, key, extension{record: a.Record, endpoints: a.Endpoints, networks: hidden})
}

// divide returns the networks that Talos may see, and those that it must not.
func divide(networks []netip.Prefix) (shown, hidden []netip.Prefix) {
	for _, n := range networks {
		if mesh.IsBroad(n) {
			hidden = append(hidden, n)
		} else {
			shown = append(shown, n)
		}
	}
	return shown, hidden
}

// ErrOlder reports a record that is older than one that is known: a replay, or the record
// of a node that was restored from a backup.
var ErrOlder = errors.New("an older record than one seen before, or an unsigned one: not used")

// OpenAffiliate reverses [SealAffiliate] on untrusted data. Dropped lists the fields
// that are missing in the result because they were malformed. The error is
// [ErrUnreadable] if the data fails authentication, and [ErrOlder] for a record that is
// older than known, whose signature is not looked at.
//
// A result with a record is what the node with its id has signed for this cluster.
func OpenAffiliate(c Cluster, blob []byte, known discovery.Known) (a mesh.Affiliate, dropped []string, err error) {
	if len(blob) > discovery.MaxAffiliateDataSize {
		return a, nil, fmt.Errorf("data has %d bytes, the limit is %d", len(blob), discovery.MaxAffiliateDataSize)
	}
	if len(blob) < NonceSize {
		return a, nil, fmt.Errorf("data has %d bytes, shorter than its nonce", len(blob))
	}
	plain, err := newGCM(c.Secret).Open(nil, blob[:NonceSize], blob[NonceSize:], nil)
	if err != nil {
		return a, nil, ErrUnreadable
	}
	var m message
	if err := m.decode(plain); err != nil {
		return a, nil, fmt.Errorf("decrypted data isn't an affiliate: %w", err)
	}
	var clean cleaner
	a = decodeAffiliate(&clean, &m)
	if err := openExtension(&clean, c, &a, plain, known); err != nil {
		return mesh.Affiliate{}, nil, err
	}
	return a, clean.report(), nil
}

// openExtension adds the signed part of an affiliate, if it has one.
func openExtension(clean *cleaner, c Cluster, a *mesh.Affiliate, plain []byte, known discovery.Known) error {
	body, found, err := splitExtension(plain)
	if err != nil {
		return err
	}
	if !found {
		if known.Sequence != 0 {
			return ErrOlder
		}
		return nil
	}
	var x extension
	if err := x.decode(clean, body); err != nil {
		return err
	}
	if x.record.Sequence < known.Sequence {
		return ErrOlder
	}
	split := len(plain) - mesh.SignatureSize
	if !known.Verified && mesh.VerifyNode(a.NodeID, signedMessage(c.ID, plain[:split]), plain[split:]) != nil {
		return errSignature
	}
	a.Record = x.record
	if !a.PublicKey.IsZero() {
		a.Endpoints = x.endpoints
		a.AdditionalAddresses = append(a.AdditionalAddresses, x.networks...)
	}
	return nil
}

// decodeAffiliate does not fail: it leaves out invalid fields and counts them in c.
// Without a valid public key it leaves out the whole KubeSpan part.
func decodeAffiliate(c *cleaner, m *message) (a mesh.Affiliate) {
	a = mesh.Affiliate{
		NodeID:          string(m.nodeID), // the caller compares it with the id that it is stored under
		Addresses:       c.addrs(m.addresses),
		Hostname:        c.text("hostname", m.hostname),
		Nodename:        c.text("nodename", m.nodename),
		OperatingSystem: c.text("operating system", m.operatingSystem),
		MachineType:     machineType(string(m.machineType)),
	}
	if m.controlPlane {
		a.ControlPlanePort = c.port("control plane port", m.apiPort)
	}
	if !m.kubeSpan {
		return a
	}
	key, err := mesh.ParseKey(string(m.publicKey))
	if err != nil || key.IsZero() {
		c.drop("KubeSpan part (invalid public key)")
		return a
	}
	a.PublicKey = key
	a.Address = c.addr("KubeSpan address", m.address)
	a.AdditionalAddresses = c.prefixes("additional address", m.additional)
	a.ExcludeAdvertisedNetworks = c.prefixes("excluded network", m.excluded)
	return a
}

// machineType reads a machine type as Talos does, for which a worker has three names.
func machineType(s string) mesh.MachineType {
	switch t := mesh.MachineType(s); t {
	case "", "join":
		return mesh.MachineWorker
	case mesh.MachineInit, mesh.MachineControlPlane, mesh.MachineWorker:
		return t
	default:
		return mesh.MachineUnknown
	}
}

func newBlock(key mesh.Secret) cipher.Block {
	k := key.Reveal()
	b, err := aes.NewCipher(k[:])
	if err != nil { // only a wrong key length fails, and the type rules that out
		panic(err)
	}
	return b
}

func newGCM(key mesh.Secret) cipher.AEAD {
	g, err := cipher.NewGCM(newBlock(key))
	if err != nil { // only a wrong block size fails, and AES has the right one
		panic(err)
	}
	return g
}

package codec

import (
	"fmt"
	"slices"

	"github.com/wirespan/wirespan/discovery/wire"
	"github.com/wirespan/wirespan/mesh"
)

// EncodePlain returns an affiliate with its record and its endpoints, neither sealed nor
// signed: who decodes it must know by other means that it is authentic. It leaves out what
// [SealAffiliate] does: the control plane part, and machine types other than worker.
func EncodePlain(a mesh.Affiliate) []byte {
	x := extension{record: a.Record, endpoints: a.Endpoints}
	return wire.AppendBytes(encodeAffiliate(a), extensionField, x.encode())
}

// DecodePlain reverses [EncodePlain]. It leaves out malformed fields.
func DecodePlain(plain []byte) (a mesh.Affiliate, err error) {
	var m message
	if err := m.decode(plain); err != nil {
		return a, fmt.Errorf("not an affiliate: %w", err)
	}
	body, found, err := splitExtension(plain)
	if err != nil || !found {
		return a, errExtension
	}
	var clean cleaner
	var x extension
	if err := x.decodeFields(&clean, body); err != nil {
		return a, err
	}
	a = decodeAffiliate(&clean, &m)
	a.Record, a.Endpoints = x.record, x.endpoints
	return a, nil
}

// decodeFields reads the fields of an extension, without those of a later version.
func (x *extension) decodeFields(c *cleaner, body []byte) error {
	f := wire.Read(body)
	for f.Next() {
		x.take(c, &f)
	}
	if f.Err() != nil {
		return errExtension
	}
	if n := min(x.last, uint64(len(x.endpoints))); n > 0 {
		x.record.Relayed = slices.Clone(x.endpoints[len(x.endpoints)-int(n):])
	}
	return nil
}

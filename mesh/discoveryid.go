package mesh

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
)

// DiscoveryID returns the name under which the nodes of a mesh that wirespan founded
// meet at a discovery service. It follows from the mesh's present secret (HKDF-SHA256,
// RFC 5869), and not from the cluster id alone: whoever does not have the secret can
// neither read, nor delete, nor fill what is there.
func DiscoveryID(clusterID string, secret Secret) string {
	name, err := hkdf.Key(sha256.New, secret.b[:], nil, "wirespan discovery id\x00"+clusterID, KeySize)
	if err != nil { // only for more bytes than HKDF has
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(name)
}

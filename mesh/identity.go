package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Names of the identity files, which are those of Talos.
const (
	KubeSpanIdentityFile = "kubespan-identity.yaml"
	NodeIdentityFile     = "node-identity.yaml"
)

// EncodeKubeSpanIdentity returns the content of [KubeSpanIdentityFile]: the keys,
// and address and subnet if they are set. It reveals the private key.
func EncodeKubeSpanIdentity(id Identity) []byte {
	text := func(valid bool, s fmt.Stringer) string {
		if !valid {
			return `""` // as Talos first writes the file; both are recomputed at every start
		}
		return s.String()
	}
	return fmt.Appendf(nil, "address: %s\nsubnet: %s\nprivateKey: %s\npublicKey: %s\n",
		text(id.Address.IsValid(), netip.PrefixFrom(id.Address, id.Address.BitLen())),
		text(id.Subnet.IsValid(), id.Subnet),
		id.PrivateKey.RevealBase64(), id.PublicKey)
}

// ParseKubeSpanIdentity reads what [EncodeKubeSpanIdentity] or Talos wrote. The
// result has no NodeID.
//
// Talos accepts any file that decodes and trusts its publicKey. This checks more:
// a node that announces another key than that of its private key looks healthy but
// never completes a handshake, and a damaged file must not pass for a new one.
// Errors never quote values, since any of them may be the private key.
func ParseKubeSpanIdentity(data []byte) (Identity, error) {
	id, err := parseKubeSpanIdentity(data)
	if err != nil {
		return Identity{}, wrapIdentityError(KubeSpanIdentityFile, err)
	}
	return id, nil
}

func parseKubeSpanIdentity(data []byte) (id Identity, err error) {
	fields, err := identityFields(data, "address", "subnet", "privateKey", "publicKey")
	if err != nil {
		return id, err
	}
	if id.PrivateKey, err = ParsePrivateKey(fields["privateKey"]); err != nil {
		return id, fmt.Errorf("privateKey: %w", err)
	}
	if id.PrivateKey.IsZero() {
		return id, errors.New("privateKey: all zero")
	}
	b, err := decode32(fields["publicKey"])
	if err != nil {
		return id, fmt.Errorf("publicKey: %w", err)
	}
	if id.PublicKey = Key(b); id.PublicKey != id.PrivateKey.Public() {
		return id, errors.New("publicKey: not the public key of privateKey")
	}
	if s := fields["address"]; s != "" {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return id, errors.New("address: not a CIDR")
		}
		id.Address = p.Addr()
	}
	if s := fields["subnet"]; s != "" {
		if id.Subnet, err = netip.ParsePrefix(s); err != nil {
			return id, errors.New("subnet: not a CIDR")
		}
	}
	return id, nil
}

// EncodeNodeIdentity returns the content of [NodeIdentityFile].
func EncodeNodeIdentity(nodeID string) []byte {
	return fmt.Appendf(nil, "nodeId: %s\n", nodeID)
}

// ParseNodeIdentity reads what [EncodeNodeIdentity] or Talos wrote.
func ParseNodeIdentity(data []byte) (nodeID string, err error) {
	fields, err := identityFields(data, "nodeId")
	if err == nil {
		nodeID = fields["nodeId"]
		_, err = DecodeNodeID(nodeID)
	}
	if err != nil {
		return "", wrapIdentityError(NodeIdentityFile, err)
	}
	return nodeID, nil
}

var errZeroIdentity = errors.New("still zero after unmarshaling")

func wrapIdentityError(name string, err error) error {
	if errors.Is(err, errZeroIdentity) {
		return fmt.Errorf("value of %q is %w", name, err)
	}
	return fmt.Errorf("error unmarshaling %q: %w", name, err)
}

// identityFields reads one YAML mapping of strings and accepts only known keys.
// It walks the nodes itself because the decoder's errors quote values.
func identityFields(data []byte, known ...string) (map[string]string, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, rest yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, errZeroIdentity
	case err != nil:
		return nil, errors.New("not YAML")
	}
	if err := dec.Decode(&rest); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, errZeroIdentity
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: not a mapping", root.Line)
	}
	return stringFields(root, known)
}

func stringFields(root *yaml.Node, known []string) (map[string]string, error) {
	fields := make(map[string]string, len(known))
	zero := true
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, isKnown := "", false
		key, value := root.Content[i], root.Content[i+1]
		for _, k := range known {
			if key.Kind == yaml.ScalarNode && key.Value == k {
				name, isKnown = k, true
			}
		}
		if !isKnown {
			return nil, fmt.Errorf("line %d: unknown key (known keys: %s)", key.Line, strings.Join(known, ", "))
		}
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("line %d: duplicate key %s", key.Line, name)
		}
		if value.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: %s: not a string", value.Line, name)
		}
		if value.Tag == "!!null" {
			value.Value = ""
		}
		fields[name] = value.Value
		zero = zero && value.Value == ""
	}
	if zero {
		return nil, errZeroIdentity
	}
	return fields, nil
}

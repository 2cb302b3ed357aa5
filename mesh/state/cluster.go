package state

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	"go.yaml.in/yaml/v3"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

const clusterFile = "cluster.yaml"

// Cluster is a membership that does not come from a configuration file: the cluster
// that this node founded, or that it joined by token. It is stored in the state
// directory, so that `wirespan up` without arguments rejoins it.
type Cluster struct {
	ID        string
	Secret    mesh.Secret
	Authority mesh.Authority
	Servers   []string         // host:port, all of one discovery server; a founder has none
	Pin       [32]byte         // SHA-256 of the server's SubjectPublicKeyInfo
	Founder   bool             // this node runs the discovery server and has the authority's key
	Token     mesh.EnrolmentID // of the join token that this node used last; zero for a founder
}

type clusterDocument struct {
	ClusterID     string   `yaml:"clusterID"`
	ClusterSecret string   `yaml:"clusterSecret"`
	Authority     string   `yaml:"authority"`
	Servers       []string `yaml:"servers,omitempty"`
	Pin           string   `yaml:"pin,omitempty"`
	Founder       bool     `yaml:"founder,omitempty"`
	Token         string   `yaml:"token,omitempty"`
}

// LoadCluster returns the stored cluster, or nil if the state directory holds none.
func LoadCluster(st *Dir) (*Cluster, error) {
	data, err := st.Read(clusterFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := parseCluster(data)
	if err != nil {
		return nil, fmt.Errorf("state file %q: %w (restore it from a backup, or remove it to found or join a cluster anew)", st.Path(clusterFile), err)
	}
	return c, nil
}

// FoundCluster creates a new cluster with its authority key, and stores both.
func FoundCluster(st *Dir) (*Cluster, error) {
	key, err := loadOrCreate(st, mesh.AuthorityKeyFile, mesh.ParseAuthorityKey, func() []byte {
		return mesh.EncodeAuthorityKey(mesh.NewAuthorityKey(random32()))
	})
	if err != nil {
		return nil, fmt.Errorf("authority key: %w", err)
	}
	id := random32()
	c := &Cluster{
		ID: base64.StdEncoding.EncodeToString(id[:]), Secret: mesh.NewSecret(random32()),
		Authority: key.Authority(), Founder: true,
	}
	return c, SaveCluster(st, c)
}

// CheckJoin returns an error if this node can't join the cluster of a token: it has
// founded another one, whose nodes depend on its discovery server. Old is the cluster
// that it is in, if any.
func CheckJoin(st *Dir, t config.Token) (old *Cluster, err error) {
	if old, err = LoadCluster(st); err != nil {
		return nil, err
	}
	if old != nil && old.Founder && old.Authority != t.Authority {
		return nil, fmt.Errorf("this node founded another cluster, kept in %q: leave it with wirespan down and remove that file first", st.Path(clusterFile))
	}
	return old, nil
}

// JoinCluster stores the cluster that the founder has admitted this node to, with a
// token. It replaces a cluster that was joined before.
func JoinCluster(st *Dir, t config.Token, m mesh.Membership) (*Cluster, error) {
	if m.Authority != t.Authority {
		return nil, errors.New("the founder has another authority key than the join token: its mesh was founded anew; get a new token there")
	}
	c := &Cluster{ID: m.ClusterID, Secret: m.Secret, Authority: m.Authority, Servers: t.Servers, Pin: t.Pin, Token: t.ID}
	return c, SaveCluster(st, c)
}

// SaveCluster stores a cluster, including its secret.
func SaveCluster(st *Dir, c *Cluster) error {
	doc := clusterDocument{
		ClusterID: c.ID, ClusterSecret: c.Secret.RevealBase64(), Authority: c.Authority.String(), Servers: c.Servers, Founder: c.Founder,
	}
	if c.Pin != [32]byte{} {
		doc.Pin = base64.StdEncoding.EncodeToString(c.Pin[:])
	}
	if c.Token != (mesh.EnrolmentID{}) {
		doc.Token = base64.StdEncoding.EncodeToString(c.Token[:])
	}
	data, err := yaml.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", clusterFile, err)
	}
	return st.Replace(clusterFile, data)
}

func parseCluster(data []byte) (*Cluster, error) {
	var doc clusterDocument
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return nil, errors.New("not a cluster file: damaged YAML") // the decoder's text quotes values
	}
	secret, err := mesh.ParseSecret(doc.ClusterSecret)
	if err != nil {
		return nil, fmt.Errorf("clusterSecret: %w", err)
	}
	if secret.IsZero() {
		return nil, errors.New("clusterSecret: all zero")
	}
	if doc.ClusterID == "" {
		return nil, errors.New("clusterID is missing")
	}
	if !doc.Founder && len(doc.Servers) == 0 {
		return nil, errors.New("servers are missing")
	}
	authority, err := mesh.ParseAuthority(doc.Authority)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	c := &Cluster{ID: doc.ClusterID, Secret: secret, Authority: authority, Servers: doc.Servers, Founder: doc.Founder}
	if err := decodeField(c.Pin[:], "pin", doc.Pin); err != nil {
		return nil, err
	}
	return c, decodeField(c.Token[:], "token", doc.Token)
}

// decodeField decodes an optional field into a value of fixed length.
func decodeField(into []byte, name, value string) error {
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil || value != "" && len(b) != len(into) {
		return fmt.Errorf("%s: expected base64 of %d bytes", name, len(into))
	}
	copy(into, b)
	return nil
}

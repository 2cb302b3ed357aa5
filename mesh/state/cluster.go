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
	ID      string
	Secret  mesh.Secret
	Servers []string // host:port, all of one discovery server; a founder has none
	Pin     [32]byte // SHA-256 of the server's SubjectPublicKeyInfo
	Founder bool     // this node runs the discovery server
}

type clusterDocument struct {
	ClusterID     string   `yaml:"clusterID"`
	ClusterSecret string   `yaml:"clusterSecret"`
	Servers       []string `yaml:"servers,omitempty"`
	Pin           string   `yaml:"pin,omitempty"`
	Founder       bool     `yaml:"founder,omitempty"`
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

// FoundCluster creates a new cluster and stores it.
func FoundCluster(st *Dir) (*Cluster, error) {
	id := random32()
	c := &Cluster{ID: base64.StdEncoding.EncodeToString(id[:]), Secret: mesh.NewSecret(random32()), Founder: true}
	return c, SaveCluster(st, c)
}

// JoinCluster stores the cluster of a token. It replaces a cluster that was joined
// before, but not one that this node founded: other nodes depend on its discovery
// server.
func JoinCluster(st *Dir, t config.Token) (*Cluster, error) {
	old, err := LoadCluster(st)
	if err != nil {
		return nil, err
	}
	if old != nil && old.Founder && old.ID == t.ClusterID {
		return old, nil
	}
	if old != nil && old.Founder {
		return nil, fmt.Errorf("this node founded another cluster, kept in %q: leave it with wirespan down and remove that file first", st.Path(clusterFile))
	}
	c := &Cluster{ID: t.ClusterID, Secret: t.Secret, Servers: t.Servers, Pin: t.Pin}
	return c, SaveCluster(st, c)
}

// SaveCluster stores a cluster, including its secret.
func SaveCluster(st *Dir, c *Cluster) error {
	doc := clusterDocument{ClusterID: c.ID, ClusterSecret: c.Secret.RevealBase64(), Servers: c.Servers, Founder: c.Founder}
	if c.Pin != [32]byte{} {
		doc.Pin = base64.StdEncoding.EncodeToString(c.Pin[:])
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
	c := &Cluster{ID: doc.ClusterID, Secret: secret, Servers: doc.Servers, Founder: doc.Founder}
	if doc.Pin != "" {
		pin, err := base64.StdEncoding.DecodeString(doc.Pin)
		if err != nil || len(pin) != len(c.Pin) {
			return nil, errors.New("pin: expected base64 of 32 bytes")
		}
		c.Pin = [32]byte(pin)
	}
	return c, nil
}

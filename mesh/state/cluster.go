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

// ClusterFile holds the [Cluster].
const ClusterFile = "cluster.yaml"

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
	FounderID string           // node id of the founder; empty on itself

	SecretNumber uint64 // of Secret
	// Next is the secret that the mesh changes to, with the number after SecretNumber or a
	// later one; zero: no change is under way.
	Next       mesh.Secret
	NextNumber uint64
	Statement  []byte // the authority's newest, signed; nil: none

	// Of a founder.
	First       mesh.Authority // of the mesh, if Authority is another one; else zero
	Successions [][]byte       // the statements that name successors
	Again       bool           // the secret is to change again after this change
}

// Newest returns the newest secret, and its number.
func (c *Cluster) Newest() (mesh.Secret, uint64) {
	if c.Next.IsZero() {
		return c.Secret, c.SecretNumber
	}
	return c.Next, c.NextNumber
}

// Close ends the change of the secret.
func (c *Cluster) Close() {
	c.Secret, c.SecretNumber = c.Newest()
	c.Next, c.NextNumber = mesh.Secret{}, 0
}

type clusterDocument struct {
	ClusterID     string   `json:"clusterID" yaml:"clusterID"`
	ClusterSecret string   `json:"clusterSecret" yaml:"clusterSecret"`
	Authority     string   `json:"authority" yaml:"authority"`
	Servers       []string `json:"servers,omitempty" yaml:"servers,omitempty"`
	Pin           string   `json:"pin,omitempty" yaml:"pin,omitempty"`
	Founder       bool     `json:"founder,omitempty" yaml:"founder,omitempty"`
	Token         string   `json:"token,omitempty" yaml:"token,omitempty"`
	FounderID     string   `json:"founderID,omitempty" yaml:"founderID,omitempty"`

	SecretNumber uint64   `json:"secretNumber,omitempty" yaml:"secretNumber,omitempty"`
	NextSecret   string   `json:"nextSecret,omitempty" yaml:"nextSecret,omitempty"`
	NextNumber   uint64   `json:"nextNumber,omitempty" yaml:"nextNumber,omitempty"`
	Statement    string   `json:"statement,omitempty" yaml:"statement,omitempty"`
	First        string   `json:"firstAuthority,omitempty" yaml:"firstAuthority,omitempty"`
	Successions  []string `json:"successions,omitempty" yaml:"successions,omitempty"`
	Again        bool     `json:"again,omitempty" yaml:"again,omitempty"`
}

// LoadCluster returns the stored cluster, or nil if the state directory holds none.
func LoadCluster(st *Dir) (*Cluster, error) {
	data, err := st.Read(ClusterFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := parseCluster(data)
	if err != nil {
		return nil, fmt.Errorf("state file %q: %w (restore it from a backup, or remove it to found or join a cluster anew)", st.Path(ClusterFile), err)
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

// nextAuthorityFile holds an authority key before the authority's statement that names it.
const nextAuthorityFile = "authority-key.next.yaml"

// ReadAuthorityKey returns the key of an authority, which only the founder of its mesh
// has.
func ReadAuthorityKey(st *Dir, a mesh.Authority) (mesh.AuthorityKey, error) {
	key, err := readAuthorityKey(st, mesh.AuthorityKeyFile)
	if err == nil && key.Authority() == a {
		return key, nil
	}
	if next, nextErr := readAuthorityKey(st, nextAuthorityFile); nextErr == nil && next.Authority() == a {
		return next, nil
	}
	if err == nil {
		err = fmt.Errorf("%q: not the key of this mesh's authority: restore it from a backup", st.Path(mesh.AuthorityKeyFile))
	}
	return mesh.AuthorityKey{}, fmt.Errorf("authority key: %w", err)
}

// LoadAuthorityKey returns what ReadAuthorityKey returns. A key that was prepared and has
// become the authority's takes the place of the former one.
func LoadAuthorityKey(st *Dir, a mesh.Authority) (mesh.AuthorityKey, error) {
	key, err := ReadAuthorityKey(st, a)
	if err != nil {
		return key, err
	}
	if first, err := readAuthorityKey(st, mesh.AuthorityKeyFile); err == nil && first == key {
		return key, nil
	}
	if err := st.Replace(mesh.AuthorityKeyFile, mesh.EncodeAuthorityKey(key)); err != nil {
		return mesh.AuthorityKey{}, err
	}
	return key, st.Remove(nextAuthorityFile)
}

func readAuthorityKey(st *Dir, name string) (mesh.AuthorityKey, error) {
	data, err := st.Read(name)
	if err != nil {
		return mesh.AuthorityKey{}, err
	}
	return mesh.ParseAuthorityKey(data)
}

// PrepareAuthorityKey makes and stores the key of the authority after the present one.
func PrepareAuthorityKey(st *Dir, present mesh.Authority) (mesh.AuthorityKey, error) {
	if _, err := LoadAuthorityKey(st, present); err != nil { // it must not be only in the file that is overwritten
		return mesh.AuthorityKey{}, err
	}
	key := mesh.NewAuthorityKey(random32())
	return key, st.Replace(nextAuthorityFile, mesh.EncodeAuthorityKey(key))
}

// NewSecret returns a random secret of a mesh.
func NewSecret() mesh.Secret { return mesh.NewSecret(random32()) }

// CheckJoin returns an error if this node can't join the cluster of a token: it has
// founded another one, whose nodes depend on its discovery server. Old is the cluster
// that it is in, if any.
func CheckJoin(st *Dir, t config.Token) (old *Cluster, err error) {
	if old, err = LoadCluster(st); err != nil {
		return nil, err
	}
	if old != nil && old.Founder && old.Authority != t.Authority && old.Pin != t.Pin {
		return nil, fmt.Errorf("this node founded another cluster, kept in %q: leave it with wirespan down and remove that file first", st.Path(ClusterFile))
	}
	return old, nil
}

// JoinCluster stores the cluster that the founder has admitted this node to, with a
// token. It replaces a cluster that was joined before.
func JoinCluster(st *Dir, t config.Token, m mesh.Membership) (*Cluster, error) {
	_, statement, authority, err := m.Latest(t.Authority)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		ID: m.ClusterID, Secret: m.Secret, SecretNumber: m.SecretNumber, Authority: authority, Statement: statement,
		Servers: t.Servers, Pin: t.Pin, Token: t.ID, FounderID: m.Founder,
	}
	return c, SaveCluster(st, c)
}

// SaveCluster stores a cluster, including its secret.
func SaveCluster(st *Dir, c *Cluster) error {
	doc := clusterDocument{
		ClusterID: c.ID, ClusterSecret: c.Secret.RevealBase64(), Authority: c.Authority.String(), Servers: c.Servers, Founder: c.Founder,
		FounderID: c.FounderID,
	}
	if c.Pin != [32]byte{} {
		doc.Pin = base64.StdEncoding.EncodeToString(c.Pin[:])
	}
	if c.Token != (mesh.EnrolmentID{}) {
		doc.Token = base64.StdEncoding.EncodeToString(c.Token[:])
	}
	doc.encodeChange(c)
	data, err := config.YAML(doc)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", ClusterFile, err)
	}
	return st.Replace(ClusterFile, data)
}

// encodeChange sets what belongs to a change of the secret.
func (doc *clusterDocument) encodeChange(c *Cluster) {
	doc.SecretNumber, doc.NextNumber, doc.Again = c.SecretNumber, c.NextNumber, c.Again
	if !c.Next.IsZero() {
		doc.NextSecret = c.Next.RevealBase64()
	}
	if c.First != (mesh.Authority{}) {
		doc.First = c.First.String()
	}
	doc.Statement = base64.StdEncoding.EncodeToString(c.Statement)
	for _, s := range c.Successions {
		doc.Successions = append(doc.Successions, base64.StdEncoding.EncodeToString(s))
	}
}

// decodeChange is the reverse.
func (doc *clusterDocument) decodeChange(c *Cluster) (err error) {
	c.SecretNumber, c.NextNumber, c.Again = doc.SecretNumber, doc.NextNumber, doc.Again
	if doc.NextSecret != "" {
		if c.Next, err = mesh.ParseSecret(doc.NextSecret); err != nil {
			return fmt.Errorf("nextSecret: %w", err)
		}
	}
	if c.Next.IsZero() != (c.NextNumber == 0) || !c.Next.IsZero() && c.NextNumber <= c.SecretNumber {
		return errors.New("nextNumber: not a number after secretNumber")
	}
	if doc.First != "" {
		if c.First, err = mesh.ParseAuthority(doc.First); err != nil {
			return fmt.Errorf("firstAuthority: %w", err)
		}
	}
	for i, text := range doc.Successions {
		s, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(s) == 0 || i >= mesh.MaxSuccessions {
			return errors.New("successions: not a list of statements")
		}
		c.Successions = append(c.Successions, s)
	}
	if doc.Statement == "" {
		return nil
	}
	if c.Statement, err = base64.StdEncoding.DecodeString(doc.Statement); err != nil {
		return errors.New("statement: not base64")
	}
	if _, err := mesh.ParseStatement(c.Statement); err != nil {
		return fmt.Errorf("statement: %w", err)
	}
	return nil
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
	c := &Cluster{ID: doc.ClusterID, Secret: secret, Authority: authority, Servers: doc.Servers, Founder: doc.Founder, FounderID: doc.FounderID}
	if err := decodeField(c.Pin[:], "pin", doc.Pin); err != nil {
		return nil, err
	}
	if err := decodeField(c.Token[:], "token", doc.Token); err != nil {
		return nil, err
	}
	if err := doc.decodeChange(c); err != nil {
		return nil, err
	}
	return c, nil
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

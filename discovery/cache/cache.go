package cache

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// Files is the directory that the file is in.
type Files interface {
	ReadAtMost(name string, limit int64) ([]byte, error) // [fs.ErrNotExist] if there is none
	Replace(name string, data []byte) error              // atomically
	Remove(name string) error
}

// Cache is the cache of one node. Use [New].
type Cache struct {
	files Files
	name  string
	own   mesh.Secret
	sum   [sha256.Size]byte // of what is in the file, without times
	key   [32]byte          // of the file; zero: there is no file, or none that can be read
}

// New returns the cache in a file of a directory. Own is a key that only this node has.
func New(files Files, name string, own mesh.Secret) *Cache {
	return &Cache{files: files, name: name, own: own}
}

// Load reads what was kept of a cluster, with one of its secrets, sorted by node id. It is
// empty if there is no file. A file that can't be used is an error, and the next Keep
// replaces it.
func (c *Cache) Load(cluster string, secrets ...mesh.Secret) ([]discovery.Remembered, error) {
	c.key = [32]byte{}
	data, err := c.files.ReadAtMost(c.name, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, secret := range secrets {
		key := keyOf(c.own, secret, cluster)
		body, times, failed := open(key, data)
		if failed != nil {
			err = failed
			continue
		}
		list, failed := decode(body, times)
		if failed != nil {
			return nil, fmt.Errorf("%s: %w", c.name, failed)
		}
		c.key, c.sum = key, sha256.Sum256(body)
		return list, nil
	}
	return nil, fmt.Errorf("%s: %w", c.name, err)
}

// Keep writes the affiliates of a cluster, sealed with one of its secrets. It does not if
// the file holds the same, other times aside, unless it is to refresh them; and it makes no
// file for an empty list.
func (c *Cache) Keep(cluster string, secret mesh.Secret, list []discovery.Remembered, refresh bool) (written bool, err error) {
	key := keyOf(c.own, secret, cluster)
	body, times := encode(list)
	sum := sha256.Sum256(body)
	if !refresh && key == c.key && sum == c.sum || len(list) == 0 && c.key == [32]byte{} {
		return false, nil
	}
	if err := c.files.Replace(c.name, seal(key, body, times)); err != nil {
		return false, err
	}
	c.key, c.sum = key, sum
	return true, nil
}

// Drop removes the file.
func (c *Cache) Drop() error {
	c.key = [32]byte{}
	return c.files.Remove(c.name)
}

package state

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// A cluster for the tests.
const (
	testClusterID = "Zq3vT8kLr0pW5xYb1nCe7sGd4hJf6mAu9oQi2tRzBNU="
	testSecret    = "sH5wPz1kN9cVb3mQx7rTy0uJd2fGa4eLi6oKn8pRsMU="
)

func testToken() config.Token {
	return config.Token{
		Servers: []string{"192.0.2.1:51820", "[2001:db8::1]:51820"}, Pin: [32]byte{1, 2, 3},
		Authority: mesh.NewAuthorityKey([32]byte{4}).Authority(), ID: mesh.EnrolmentID{5}, Key: mesh.NewSecret([32]byte{6}),
	}
}

func testMembership() mesh.Membership {
	return mesh.Membership{ClusterID: testClusterID, Secret: must(mesh.ParseSecret(testSecret)), Authority: testToken().Authority, Founder: mesh.NewNodeKey([32]byte{8}).NodeID()}
}

func TestClusterRoundTrip(t *testing.T) {
	for name, st := range states(t) {
		t.Run(name, func(t *testing.T) {
			if c, err := LoadCluster(st); c != nil || err != nil {
				t.Errorf("LoadCluster of nothing = %v, %v", c, err)
			}
			joined, err := JoinCluster(st, testToken(), testMembership())
			if err != nil {
				t.Fatal(err)
			}
			if got, err := LoadCluster(st); err != nil || !reflect.DeepEqual(got, joined) {
				t.Errorf("LoadCluster = %+v, %v; want %+v", got, err, joined)
			}
			if old, err := CheckJoin(st, testToken()); err != nil || !reflect.DeepEqual(old, joined) {
				t.Errorf("CheckJoin of the same cluster = %+v, %v", old, err)
			}
			other, member := testToken(), testMembership()
			other.Authority = mesh.NewAuthorityKey([32]byte{9}).Authority()
			if _, err := JoinCluster(st, other, member); err == nil || !strings.Contains(err.Error(), "another authority key") {
				t.Errorf("joining with another authority's answer: %v", err)
			}
			member.ClusterID, member.Authority = "another", other.Authority
			if old, err := CheckJoin(st, other); err != nil || old.ID != testClusterID {
				t.Errorf("CheckJoin of another cluster = %v, %v", old, err)
			}
			if c, err := JoinCluster(st, other, member); err != nil || c.ID != "another" {
				t.Errorf("joining another cluster = %v, %v", c, err)
			}
		})
	}
}

// A founder does not join another cluster: other nodes depend on it.
func TestFounderStays(t *testing.T) {
	st := openState(t, t.TempDir())
	founded, err := FoundCluster(st)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := LoadCluster(st); err != nil || !reflect.DeepEqual(got, founded) || !got.Founder {
		t.Errorf("LoadCluster = %+v, %v; want %+v", got, err, founded)
	}
	key, err := mesh.ParseAuthorityKey(must(st.Read(mesh.AuthorityKeyFile)))
	if err != nil || key.Authority() != founded.Authority {
		t.Errorf("the stored authority key does not fit: %v", err)
	}
	if _, err := CheckJoin(st, testToken()); err == nil || !strings.Contains(err.Error(), "this node founded another cluster") {
		t.Errorf("joining elsewhere = %v", err)
	}
	own := testToken()
	own.Authority = founded.Authority
	if c, err := CheckJoin(st, own); err != nil || !c.Founder {
		t.Errorf("joining its own cluster = %+v, %v", c, err)
	}
}

func TestDamagedClusterIsKept(t *testing.T) {
	pin := strings.Repeat("A", 43) + "="
	valid := "clusterID: x\nclusterSecret: " + testSecret + "\nauthority: " + testToken().Authority.String() + "\nfounder: true\n"
	for name, test := range map[string]struct{ content, want string }{
		"empty":       {"", "damaged YAML"},
		"not YAML":    {"{[", "damaged YAML"},
		"unknown key": {"clusterID: x\nclusterSecret: " + testSecret + "\nfounder: true\nmore: 1\n", "damaged YAML"},
		"secret":      {"clusterID: x\nclusterSecret: c2hvcnQ=\nfounder: true\n", "clusterSecret: expected 32 bytes, got 5"},
		"zero secret": {"clusterID: x\nclusterSecret: " + pin + "\nfounder: true\n", "clusterSecret: all zero"},
		"no id":       {"clusterSecret: " + testSecret + "\nfounder: true\n", "clusterID is missing"},
		"no servers":  {"clusterID: x\nclusterSecret: " + testSecret + "\n", "servers are missing"},
		"authority":   {"clusterID: x\nclusterSecret: " + testSecret + "\nfounder: true\n", "authority: expected 32 bytes, got 0"},
		"weak":        {"clusterID: x\nclusterSecret: " + testSecret + "\nauthority: " + pin + "\nfounder: true\n", "authority: an Ed25519 key of small order"},
		"pin":         {valid + "pin: AAAA\n", "pin: expected base64 of 32 bytes"},
		"token":       {valid + "token: AAAA\n", "token: expected base64 of 8 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			st := openState(t, t.TempDir())
			if err := st.Create(ClusterFile, []byte(test.content)); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{
				"LoadCluster": second(LoadCluster(st)),
				"CheckJoin":   second(CheckJoin(st, testToken())),
			} {
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), testSecret) {
					t.Errorf("%s = %v, want %q", what, err, test.want)
				}
			}
			if got, err := os.ReadFile(st.Path(ClusterFile)); err != nil || string(got) != test.content {
				t.Errorf("the file is now %q, %v", got, err)
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

// FuzzParseCluster checks that no input causes a panic, that no error quotes the secret,
// and that an accepted cluster is the same after it is saved and loaded.
func FuzzParseCluster(f *testing.F) {
	seed, err := yaml.Marshal(clusterDocument{ClusterID: testClusterID, ClusterSecret: testSecret, Authority: testToken().Authority.String(), Servers: []string{"a:1"}, Pin: strings.Repeat("A", 43) + "="})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("founder: true\nclusterID: x\nclusterSecret: " + testSecret + "\nauthority: " + testToken().Authority.String()))
	f.Add([]byte("clusterSecret: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCluster(data)
		if err != nil {
			if i := bytes.Index(data, []byte(testSecret)); i >= 0 && strings.Contains(err.Error(), testSecret) {
				t.Errorf("the error quotes the secret: %v", err)
			}
			return
		}
		if c.ID == "" || c.Secret.IsZero() || !c.Founder && len(c.Servers) == 0 {
			t.Errorf("accepted %+v", c)
		}
		st := must(Open(config.StateMemory, nil))
		if err := SaveCluster(st, c); err != nil {
			t.Fatal(err)
		}
		again, err := LoadCluster(st)
		if err != nil || again.ID != c.ID || again.Secret != c.Secret || again.Pin != c.Pin || again.Authority != c.Authority || again.Token != c.Token || again.Founder != c.Founder ||
			strings.Join(again.Servers, "\n") != strings.Join(c.Servers, "\n") {
			t.Errorf("reads back as %+v, %v; want %+v", again, err, c)
		}
	})
}

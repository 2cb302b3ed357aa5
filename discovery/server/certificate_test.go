package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestCertificateStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	first, pin, err := Certificate(dir, t0, nil)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, KeyFile)
	crt := filepath.Join(dir, certificateFile)
	for _, path := range []string{key, crt} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	again, pin2, err := Certificate(dir, t0.Add(time.Hour), nil)
	if err != nil || pin2 != pin || !again.Leaf.Equal(first.Leaf) {
		t.Errorf("loaded another certificate, error %v", err)
	}
	if _, err := tls.LoadX509KeyPair(crt, key); err != nil {
		t.Errorf("as ordinary files: %v", err)
	}

	other := t.TempDir()
	if _, _, err := Certificate(other, t0, nil); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(other, certificateFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, contents := range map[string][]byte{"damaged": []byte("x"), "of another key": foreign, "empty": {}} {
		if err := os.WriteFile(crt, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, got, err := Certificate(dir, t0, nil); err != nil || got != pin {
			t.Errorf("certificate %s: pin %x, want %x, error %v", name, got, pin, err)
		}
	}
	if err := os.Remove(crt); err != nil {
		t.Fatal(err)
	}
	if _, got, err := Certificate(dir, t0, nil); err != nil || got != pin {
		t.Errorf("certificate missing: pin %x, want %x, error %v", got, pin, err)
	}
}

func TestDamagedKeyIsNotOverwritten(t *testing.T) {
	notEC := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("junk")})
	for name, tc := range map[string]struct {
		contents []byte
		mode     os.FileMode
		want     string
	}{
		"empty":     {nil, 0o600, "not a PEM private key"},
		"no PEM":    {[]byte("secret words"), 0o600, "not a PEM private key"},
		"no key":    {notEC, 0o600, "asn1"},
		"writable":  {notEC, 0o620, "lets other users write it"},
		"cert only": {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}), 0o600, "not a PEM private key"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, KeyFile)
		if err := os.WriteFile(path, tc.contents, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tc.mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := Certificate(dir, t0, nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want %q and the path", name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret words") {
			t.Errorf("%s: error shows the contents: %v", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != string(tc.contents) {
			t.Errorf("%s: key file changed to %q, %v", name, b, err)
		}
		if _, err := os.Stat(filepath.Join(dir, certificateFile)); err == nil {
			t.Errorf("%s: a certificate was written", name)
		}
	}
}

// A key that other users may read works, with a warning.
func TestReadableKeyIsWarnedOf(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: true, 0o604: true} {
		dir := t.TempDir()
		_, pin, err := Certificate(dir, t0, nil)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, KeyFile)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, got, err := Certificate(dir, t0, hclog.New(&hclog.LoggerOptions{Output: &out})); err != nil || got != pin {
			t.Errorf("mode %o: pin %x, want %x, error %v", mode, got, pin, err)
		}
		if got := strings.Contains(out.String(), "use chmod 600: file="+path); got != want {
			t.Errorf("mode %o: warned %v: %s", mode, got, out.String())
		}
	}
}

func TestMemoryCertificatesDiffer(t *testing.T) {
	_, a, errA := MemoryCertificate(t0)
	cert, b, errB := MemoryCertificate(t0)
	if errA != nil || errB != nil || a == b {
		t.Errorf("pins %x and %x, errors %v and %v", a, b, errA, errB)
	}
	if cert.Leaf.NotAfter.Before(t0.AddDate(100, 0, 0)) || cert.Leaf.PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("until %v, %v", cert.Leaf.NotAfter, cert.Leaf.PublicKeyAlgorithm)
	}
}

func TestReloadingCertificate(t *testing.T) {
	source := [2]string{t.TempDir(), t.TempDir()}
	var pins [2][32]byte
	for i, dir := range source {
		var err error
		if _, pins[i], err = Certificate(dir, t0, nil); err != nil {
			t.Fatal(err)
		}
	}
	live, modified := t.TempDir(), t0
	install := func(name string, from int) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(source[from], name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(live, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		modified = modified.Add(time.Second)
		if err := os.Chtimes(path, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	crt, key := filepath.Join(live, certificateFile), filepath.Join(live, KeyFile)
	if _, err := ReloadingCertificate(crt, key, nil); err == nil {
		t.Error("missing files were accepted")
	}
	install(certificateFile, 0)
	install(KeyFile, 0)
	get, err := ReloadingCertificate(crt, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(after string, want int) {
		t.Helper()
		cert, err := get(nil)
		if err != nil || pinOf(cert.Leaf) != pins[want] {
			t.Errorf("%s: not certificate %d, error %v", after, want, err)
		}
	}
	check("at first", 0)
	install(certificateFile, 1)
	check("one half replaced", 0)
	install(KeyFile, 1)
	check("both replaced", 1)
	if err := os.Remove(crt); err != nil {
		t.Fatal(err)
	}
	check("removed", 1)
	install(certificateFile, 0)
	install(KeyFile, 0)
	check("back to the first", 0)
}

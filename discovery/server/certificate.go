package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Names of the files that Certificate keeps.
const (
	KeyFile         = "discovery.key"
	certificateFile = "discovery.crt"
)

// pinOf returns the pin that clients of a self-signed server check instead of a
// chain: the SHA-256 of the certificate's SubjectPublicKeyInfo. It depends on the
// key alone, so that a new certificate of the same key has the same pin.
func pinOf(cert *x509.Certificate) [32]byte { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// Certificate loads the self-signed certificate in dir, or creates it, and returns
// it with its pin. If the certificate is missing, damaged or of another key, it is
// created again from the key. A damaged key is an error and is never overwritten,
// since every client would refuse a new one. A key that other users may write is
// an error; one that they may read causes a warning in log, which may be nil.
func Certificate(dir string, now time.Time, log hclog.Logger) (tls.Certificate, [32]byte, error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	cert, err := loadCertificate(dir, now, log)
	if err != nil {
		return tls.Certificate{}, [32]byte{}, fmt.Errorf("discovery certificate: %w", err)
	}
	return cert, pinOf(cert.Leaf), nil
}

// MemoryCertificate creates a self-signed certificate that is in no file, and
// returns it with its pin.
func MemoryCertificate(now time.Time) (tls.Certificate, [32]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, [32]byte{}, fmt.Errorf("discovery key: %w", err)
	}
	cert, err := selfSigned(key, now)
	if err != nil {
		return tls.Certificate{}, [32]byte{}, fmt.Errorf("discovery certificate: %w", err)
	}
	return cert, pinOf(cert.Leaf), nil
}

func loadCertificate(dir string, now time.Time, log hclog.Logger) (tls.Certificate, error) {
	key, err := loadKey(filepath.Join(dir, KeyFile), log)
	if err != nil {
		return tls.Certificate{}, err
	}
	path := filepath.Join(dir, certificateFile)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, err
	}
	if cert, ok := parseCertificate(old, key); ok {
		return cert, nil
	}
	cert, err := selfSigned(key, now)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := writePEM(path, "CERTIFICATE", cert.Certificate[0]); err != nil { // the key, which clients know, is on disk
		log.Warn("writing the discovery server's certificate: the next start makes another one of the same key", "error", err)
	}
	return cert, nil
}

// loadKey reads the key, or creates it if there is none.
func loadKey(path string, log hclog.Logger) (*ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	mode := info.Mode().Perm()
	if mode&0o022 != 0 {
		return nil, fmt.Errorf("%s: mode %#o lets other users write it; use chmod 600", path, mode)
	}
	if mode&0o044 != 0 {
		log.Warn("other users can read the discovery server's key and pose as the server: use chmod 600", "file", path, "mode", fmt.Sprintf("%04o", mode))
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: not a PEM private key; restore it, or remove it and give all clients a new pin", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an ECDSA key", path)
	}
	return ec, nil
}

func makeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(path, "PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return writeFile(path, func(w io.Writer) error {
		return pem.Encode(w, &pem.Block{Type: kind, Bytes: der})
	})
}

// parseCertificate parses a PEM certificate. ok is false unless it is one of key.
func parseCertificate(b []byte, key *ecdsa.PrivateKey) (cert tls.Certificate, ok bool) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return tls.Certificate{}, false
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !key.PublicKey.Equal(leaf.PublicKey) {
		return tls.Certificate{}, false
	}
	return tlsCertificate(leaf, key), true
}

func selfSigned(key *ecdsa.PrivateKey, now time.Time) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), // every certificate is its own issuer, so the number is unique
		Subject:      pkix.Name{CommonName: "wirespan discovery"},
		DNSNames:     []string{"wirespan-discovery"},
		NotBefore:    now.Add(-24 * time.Hour),                         // clients' clocks may be late
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // no expiration: RFC 5280 §4.1.2.5
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tlsCertificate(leaf, key), nil
}

func tlsCertificate(leaf *x509.Certificate, key crypto.PrivateKey) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

package service

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
)

// tlsConfig returns a configuration that verifies a server by the system's roots, or by
// its pinned public key.
func tlsConfig(pin [32]byte) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if pin != [32]byte{} {
		cfg.InsecureSkipVerify = true // VerifyConnection checks the key instead of names and roots
		cfg.VerifyConnection = func(s tls.ConnectionState) error { return verifyPin(s, pin) }
	}
	return cfg
}

// wrongServer reports a server with another key than the one with the pin.
type wrongServer struct{ error }

func verifyPin(s tls.ConnectionState, pin [32]byte) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("server has no certificate")
	}
	if got := sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo); got != pin {
		return &wrongServer{fmt.Errorf("certificate pin mismatch: the server's key is %x…, expected %x…: get a new join token from the founder; if its key was not replaced, the connection is intercepted", got[:8], pin[:8])}
	}
	return nil
}

package access

import (
	"fmt"
	"os"
	"strings"
)

// maxPassword is that of RFC 1929, in bytes.
const maxPassword = 255

// ReadPassword returns the first line of a file; no file is no password.
func ReadPassword(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || len(line) > maxPassword {
		return "", fmt.Errorf("password: the first line of %s has %d bytes, want 1 to %d", path, len(line), maxPassword)
	}
	return line, nil
}

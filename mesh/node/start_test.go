package node

import "testing"

// A program that forgets the configuration gets an error.
func TestStartWithoutConfig(t *testing.T) {
	if n, err := Start(t.Context(), Config{}); n != nil || err == nil {
		t.Errorf("%v, %v", n, err)
	}
}

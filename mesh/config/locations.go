package config

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// Locations returns the control socket and the state directory that files name,
// for programs that look for the agent. It reads nothing else of the files and
// passes over their mistakes.
func Locations(files []File) (controlSocket, stateDir string) {
	for _, f := range files {
		decoder := yaml.NewDecoder(bytes.NewReader(f.Data))
		for {
			var n yaml.Node
			if decoder.Decode(&n) != nil {
				break
			}
			var d struct {
				Kind          string
				ControlSocket string `yaml:"controlSocket"`
				StateDir      string `yaml:"stateDir"`
			}
			_ = n.Decode(&d) // sets what has the right type
			if d.Kind != kindWirespan {
				continue
			}
			if d.ControlSocket != "" {
				controlSocket = d.ControlSocket
			}
			if d.StateDir != "" {
				stateDir = d.StateDir
			}
		}
	}
	return controlSocket, stateDir
}

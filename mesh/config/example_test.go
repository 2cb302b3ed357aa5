package config_test

import (
	"fmt"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

func ExampleLoad() {
	file := config.File{Name: "node.yaml", Data: []byte(`apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
mtu: 1000
---
apiVersion: v1alpha1
kind: WirespanConfig
listenPort: 51821
`)}
	_, err := config.Load([]config.File{file}, config.Options{ClusterProvided: true})
	fmt.Println(err)

	flag := config.Override{Origin: "--listen-port", Key: "listenPort", Value: "51900"}
	c, err := config.Load(nil, config.Options{Overrides: []config.Override{flag}})
	fmt.Println(c.ListenPort, c.Standalone(), err)
	// Output:
	// node.yaml:4: KubeSpanConfig: kubespan link MTU must be at least 1280
	// 51900 true <nil>
}

// Rules for traffic from the mesh have the schema of Talos, plus peers by name.
func ExampleIngress() {
	file := config.File{Name: "node.yaml", Data: []byte(`apiVersion: v1alpha1
kind: WirespanConfig
ingress:
  defaultAction: block
  rules:
  - name: ssh
    portSelector:
      ports: [22, 8000-8100]
      protocol: tcp
    ingress:
    - subnet: 10.0.0.0/8
      except: 10.1.0.0/16
    peers: [box2]
`)}
	c, err := config.Load([]config.File{file}, config.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range c.Ingress.Rules {
		fmt.Println(c.Ingress.Default, "all but", r.Protocol, r.Ports, "from", r.Subnets, r.Peers)
	}
	// Output:
	// block all but tcp [22 8000-8100] from [{10.0.0.0/8 10.1.0.0/16}] [box2]
}

func ExampleParseToken() {
	token := config.Token{
		Servers:   []string{"192.0.2.1:51820"},
		Pin:       [32]byte{1},
		Authority: mesh.NewAuthorityKey([32]byte{2}).Authority(),
		ID:        mesh.EnrolmentID{3},
		Key:       mesh.NewSecret([32]byte{4}),
		Expires:   time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
	}
	word, err := token.Encode()
	if err != nil {
		fmt.Println(err)
	}
	read, err := config.ParseToken("  " + word[:60] + "\n" + word[60:])
	fmt.Println(read, read.Servers, read.Expires, err)
	// Output:
	// (join token) [192.0.2.1:51820] 2026-01-02 15:04:05 +0000 UTC <nil>
}

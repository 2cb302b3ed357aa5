package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wirespan/wirespan/discovery"
)

// node is what is kept of a Node of core/v1. The package of that type would double what the
// client adds to the program, and most of a Node is of no use here.
type node struct {
	metav1.TypeMeta
	metav1.ObjectMeta // name, version and the annotations that are read here

	controlPlane bool
	podCIDRs     []string
	hostname     string // the first address of type Hostname
	osImage      string
}

// nodeList is a NodeList of core/v1.
type nodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           items `json:"items"`
}

// items reads one Node after another and stops at a limit: an empty object takes many times
// its size.
type items []node

// UnmarshalJSON is part of [json.Unmarshaler].
func (l *items) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if start, err := d.Token(); err != nil || start != json.Delim('[') {
		return err // null is an empty list
	}
	for room := maxListSize; d.More(); {
		var n node
		if err := d.Decode(&n); err != nil {
			return err
		}
		if room -= n.size(); room < 0 {
			return errTooLarge
		}
		*l = append(*l, n)
	}
	return nil
}

// DeepCopyObject is part of [runtime.Object].
func (n *node) DeepCopyObject() runtime.Object {
	out := *n
	out.Annotations, out.podCIDRs = maps.Clone(n.Annotations), slices.Clone(n.podCIDRs)
	return &out
}

// DeepCopyObject is part of [runtime.Object].
func (l *nodeList) DeepCopyObject() runtime.Object {
	out := *l
	out.Items = make([]node, len(l.Items))
	for i := range l.Items {
		out.Items[i] = *l.Items[i].DeepCopyObject().(*node)
	}
	return &out
}

const (
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
	maxValueSize      = 16 << 10 // of an annotation; a longer one is cut, and then malformed
	maxPodCIDRs       = 8        // Kubernetes has two at most
	emptyNode         = 512      // bytes that any node takes
)

// UnmarshalJSON takes from a Node what the client needs.
func (n *node) UnmarshalJSON(b []byte) error {
	var v struct {
		metav1.TypeMeta
		Metadata struct {
			Name            string
			ResourceVersion string
			Labels          map[string]string
			Annotations     map[string]string
		}
		Spec struct {
			PodCIDR  string
			PodCIDRs []string
		}
		Status struct {
			Addresses []struct{ Type, Address string }
			NodeInfo  struct{ OSImage string }
		}
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*n = node{TypeMeta: v.TypeMeta, osImage: cut(v.Status.NodeInfo.OSImage)}
	n.Name, n.ResourceVersion = cut(v.Metadata.Name), cut(v.Metadata.ResourceVersion)
	for _, key := range append(keys(), metav1.InitialEventsAnnotationKey) {
		if value, ok := v.Metadata.Annotations[key]; ok {
			if n.Annotations == nil {
				n.Annotations = map[string]string{}
			}
			n.Annotations[key] = strings.Clone(value[:min(len(value), maxValueSize)])
		}
	}
	_, n.controlPlane = v.Metadata.Labels[controlPlaneLabel]
	if len(v.Spec.PodCIDRs) == 0 && v.Spec.PodCIDR != "" {
		v.Spec.PodCIDRs = []string{v.Spec.PodCIDR}
	}
	for _, s := range v.Spec.PodCIDRs[:min(len(v.Spec.PodCIDRs), maxPodCIDRs)] {
		n.podCIDRs = append(n.podCIDRs, cut(s))
	}
	for _, a := range v.Status.Addresses {
		if a.Type == "Hostname" {
			n.hostname = cut(a.Address)
			break
		}
	}
	return nil
}

// cut bounds a text. One that is longer than allowed stays so.
func cut(s string) string { return strings.Clone(s[:min(len(s), maxTextLength+1)]) }

// same reports whether two states of a Node say the same to this package.
func (n *node) same(o *node) bool {
	return n.controlPlane == o.controlPlane && n.hostname == o.hostname && n.osImage == o.osImage &&
		maps.Equal(n.Annotations, o.Annotations) && slices.Equal(n.podCIDRs, o.podCIDRs)
}

// size returns about how many bytes the node takes.
func (n *node) size() int {
	size := emptyNode
	for _, value := range n.Annotations {
		size += len(value)
	}
	return size
}

// podNetworks returns the networks of the node's pods.
func (n *node) podNetworks() (networks []netip.Prefix, problems []discovery.Problem) {
	for _, s := range n.podCIDRs {
		p, err := netip.ParsePrefix(s)
		a := p.Addr()
		if err != nil || p.Bits() == 0 || a.Is4In6() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
			problems = append(problems, discovery.Problem{Reason: fmt.Sprintf("Node %.64q: ignored the pod network %.64q", n.Name, s)})
			continue
		}
		if p = p.Masked(); !slices.Contains(networks, p) {
			networks = append(networks, p)
		}
	}
	return networks, problems
}

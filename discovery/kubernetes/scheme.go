package kubernetes

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
)

// version is that of Nodes.
var version = schema.GroupVersion{Version: "v1"}

// serializer knows JSON, and the types that are used here. client-go's factory would also
// bring YAML, CBOR and protobuf.
type serializer struct{ json runtime.SerializerInfo }

func newSerializer() serializer {
	s := runtime.NewScheme()
	s.AddKnownTypeWithName(version.WithKind("Node"), &node{})
	s.AddKnownTypeWithName(version.WithKind("NodeList"), &nodeList{})
	s.AddUnversionedTypes(version, &metav1.Status{})
	j := json.NewSerializerWithOptions(json.DefaultMetaFactory, s, s, json.SerializerOptions{})
	return serializer{runtime.SerializerInfo{
		MediaType: runtime.ContentTypeJSON, MediaTypeType: "application", MediaTypeSubType: "json", EncodesAsText: true,
		Serializer:       j,
		StreamSerializer: &runtime.StreamSerializerInfo{Serializer: j, Framer: json.Framer, EncodesAsText: true},
	}}
}

// SupportedMediaTypes is part of [runtime.NegotiatedSerializer].
func (s serializer) SupportedMediaTypes() []runtime.SerializerInfo {
	return []runtime.SerializerInfo{s.json}
}

// EncoderForVersion is part of [runtime.NegotiatedSerializer].
func (serializer) EncoderForVersion(e runtime.Encoder, _ runtime.GroupVersioner) runtime.Encoder {
	return e
}

// DecoderToVersion is part of [runtime.NegotiatedSerializer].
func (serializer) DecoderToVersion(d runtime.Decoder, _ runtime.GroupVersioner) runtime.Decoder {
	return d
}

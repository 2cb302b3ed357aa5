package discovery

// The method by which a founder's server admits new nodes to its mesh. It is not part of
// Sidero's protocol: a server that admits none does not have it. Request and answer are a
// google.protobuf.BytesValue each, with what package mesh encodes.
const (
	EnrolmentService = "wirespan.v1.Enrolment"
	EnrolMethod      = "Enrol"
)

// Refusal is the reason why a founder does not admit a node.
type Refusal string

func (r Refusal) Error() string { return string(r) }

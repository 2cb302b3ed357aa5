// Package wire reads and writes the messages of the discovery protocol field by field, in
// protobuf's encoding.
//
// [Fields] steps through a message and copies nothing. It follows protobuf's rules as far
// as these messages need them: fields come in any order, the last value of a field that is
// not repeated counts, fields of later versions are skipped. What is malformed is an
// error, a known field with another type too.
//
// There is no generated code, no reflection and no table of types: the messages are few,
// and the runtime of generated ones takes more room than the rest of the client. Nothing of
// protobuf's module is used but in tests, which compare with it.
package wire

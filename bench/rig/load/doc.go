// Package load generates traffic and measures it: TCP goodput, UDP rates, round
// trips and connect times between a [Client] and a [Server]. The network may be
// the kernel's or one inside the process; it only has to dial and listen.
//
// One TCP connection controls each test. Its streams are further connections to
// the same port, and its datagrams go to the UDP port of the same number. The
// receiver of the data measures, after a warm-up: it counts the bytes of payload
// that the application gets between two readings of the receiver's clock.
//
// Limits: [Limits] bounds the tests, streams and time of a server. UDP is measured
// from client to server only. Nothing is encrypted or authenticated: Server.Admit
// and the listening address decide who may measure.
//
// Ownership: Server.Serve takes over the server's sockets, and closes them and
// ends its goroutines before it returns. A method of Client ends all goroutines
// and connections of its own before it returns.
package load

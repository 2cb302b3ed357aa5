// Package load makes traffic and measures it: TCP goodput, UDP rates, round
// trips and connect times, from a [Client] to a [Server] over any network that
// can dial and listen, the kernel's or one inside the process.
//
// One TCP connection controls each test; its streams are further connections
// to the same port, and datagrams go to the UDP port of the same number. The
// receiver of the data measures: bytes of payload handed to the application,
// between two readings of its own clock, after a warm-up.
//
// Limits: a server takes no more than [Limits] says of tests, streams and time;
// UDP is measured from client to server only. Nothing is encrypted or
// authenticated here: Admit and the address listened on decide who may measure.
//
// Ownership: Server.Serve ends its goroutines and closes its sockets before it
// returns; every method of Client ends what it began.
package load

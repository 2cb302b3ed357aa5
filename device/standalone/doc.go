// Package standalone runs a WireGuard interface alone, in place of wireguard-go:
// no mesh and no configuration file. wg(8) configures the interface by its socket
// in [device.UAPIDirectory].
//
// Like wireguard-go, it takes its settings from the environment ([EnvTUN],
// [EnvUAPI], [EnvForeground], [EnvLogLevel]), so that programs which start
// wireguard-go, as wg-quick(8) does, can start this instead. The TUN descriptor and
// the listening socket can be inherited from such a program.
//
// [Run] runs the interface in this process. [Daemonize] starts the program again in
// the background and returns when that process answers on its socket: it waits on
// a pipe, on which Run reports that it is ready, or the error for which it ended.
//
// Limits: Linux only, like package tun.
//
// Ownership: Run ends everything that it started before it returns. A process
// that Daemonize started is on its own from then on. It ends with a signal, or
// when its socket or its interface is deleted.
package standalone

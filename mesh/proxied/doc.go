// Package proxied connects through the proxy that the environment names: HTTP or HTTPS by CONNECT
// (RFC 9110), or SOCKS5. [For] says which proxy is for an address, as net/http would; [Dial]
// connects through it. The package does without net/http, which is a tenth of the edge build.
//
// Limits: a proxy's answer to CONNECT has at most 16 KiB. Of credentials, it presents those of the
// proxy's URL, by Basic.
//
// Ownership: no goroutine, and no state.
package proxied

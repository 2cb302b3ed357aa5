package quick

import (
	"bytes"
	"slices"
	"strconv"
)

// usualSocket is where the agent listens that root has started.
const usualSocket = "/run/wirespan/wirespan.sock"

// commands are those that an agent runs for a client: they read and write once.
var commands = []string{"status", "get"}

// Socket returns the control socket of the agent that may run a command, given by its name and
// arguments, and whether one may. The socket is empty if the arguments do not name it.
func Socket(args []string) (socket string, ok bool) {
	if len(args) == 0 || !slices.Contains(commands, args[0]) {
		return "", false
	}
	for i := 1; i < len(args); i++ {
		before, after, joined := bytes.Cut([]byte(args[i]), []byte("="))
		name, value := string(before), string(after)
		if name == "" || name[0] != '-' {
			continue
		}
		if name != "-o" && name != "--output" && name != "--control-socket" {
			return "", false
		}
		if !joined {
			if i++; i == len(args) {
				return "", false
			}
			value = args[i]
		}
		if name == "--control-socket" {
			if value == "" || value[0] != '/' { // the agent has another working directory
				return "", false
			}
			socket = value
		}
	}
	return socket, true
}

// plain reports whether no variable of the environment is one of the program's.
func plain(environ []string) bool {
	return !slices.ContainsFunc(environ, func(v string) bool { return bytes.HasPrefix([]byte(v), []byte("WIRESPAN_")) })
}

// request asks for the output of a command, for a terminal with so many columns (0: none).
func request(args []string, usual bool, columns int) []byte {
	b := append([]byte("GET /v1/command?columns="), strconv.Itoa(columns)...)
	if usual {
		b = append(b, "&usual=1"...)
	}
	for _, arg := range args {
		b = append(b, "&arg="...)
		for _, c := range []byte(arg) {
			b = appendEscaped(b, c)
		}
	}
	return append(b, " HTTP/1.0\r\nHost: wirespan\r\n\r\n"...)
}

// appendEscaped appends a byte of a query (RFC 3986 §2.1).
func appendEscaped(b []byte, c byte) []byte {
	if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
		return append(b, c)
	}
	const hex = "0123456789ABCDEF"
	return append(b, '%', hex[c>>4], hex[c&15])
}

// output returns how an answer begins: the output of a command that has succeeded, as far as it
// is in head, and the length of all of it.
func output(head []byte) (begin []byte, length int, ok bool) {
	lines, begin, whole := bytes.Cut(head, []byte("\r\n\r\n"))
	status, fields, _ := bytes.Cut(lines, []byte("\r\n"))
	if code := bytes.Fields(status); !whole || len(code) < 2 || string(code[1]) != "200" {
		return nil, 0, false
	}
	for field := range bytes.SplitSeq(fields, []byte("\r\n")) {
		name, value, _ := bytes.Cut(field, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			length, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			return begin, length, err == nil && length >= len(begin)
		}
	}
	return nil, 0, false
}

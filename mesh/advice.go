package mesh

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// QuoteName returns a name as tables and messages show it: quoted if it has a blank, a
// quotation mark, or a character that does not print. Nodes choose their names, which must
// not look like several columns, words or lines.
func QuoteName(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '"' }) {
		return strconv.Quote(s)
	}
	return s
}

// IsShellWord reports whether a shell takes s literally, for one argument.
func IsShellWord(s string) bool { return shellWord(s) == s }

// shellWord returns s as one argument of a command that a message advises. A node
// chooses its id and name itself, and the reader pastes the command into a shell as root.
func shellWord(s string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
	word := s
	if s == "" || strings.Trim(s, plain) != "" {
		word = "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	if strings.HasPrefix(s, "-") { // else it is a flag
		return "-- " + word
	}
	return word
}

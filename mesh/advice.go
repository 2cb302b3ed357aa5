package mesh

import "strings"

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

package main

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// textCell returns text for a table, quoted unless it prints and has single blanks only.
func textCell(s string) string {
	if !utf8.ValidString(s) || strings.Join(strings.Fields(s), " ") != s || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

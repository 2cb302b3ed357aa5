package main

import (
	"strconv"
	"strings"
	"unicode"
)

// nameCell returns a name for a table, quoted if it has a blank or a control character:
// nodes choose their names, which must not look like several columns or lines.
func nameCell(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '"' }) {
		return strconv.Quote(s)
	}
	return s
}

// textCell is nameCell for text that may have single blanks between its words.
func textCell(s string) string {
	if strings.Join(strings.Fields(s), " ") != s || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

package config

import "strings"

// NearMiss returns the name of which s is probably a misspelling: one that differs
// in case only, or by at most two edits. It returns "" if s is one of the names or
// none is near.
func NearMiss(s string, names ...string) string {
	best, bestDistance := "", 3
	for _, name := range names {
		if s == name {
			return ""
		}
		if len(s) > len(name)+2 || len(name) > len(s)+2 {
			continue
		}
		if d := editDistance(strings.ToLower(s), strings.ToLower(name)); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	// Two edits of a short name leave nothing in common with it.
	if bestDistance >= (len(best)+1)/2 {
		return ""
	}
	return best
}

// editDistance returns the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

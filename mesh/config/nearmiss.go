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

// Nearest returns the name that s most likely means: a near miss, one that contains s or
// is in it, or else the one that differs least.
func Nearest(s string, names ...string) string {
	if name := NearMiss(s, names...); name != "" {
		return name
	}
	best, bestDistance := "", -1
	for _, name := range names {
		d := editDistance(s, name)
		if !strings.Contains(name, s) && !strings.Contains(s, name) {
			d += maxName
		}
		if best == "" || d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// maxName is more than the longest name of a setting has bytes.
const maxName = 64

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

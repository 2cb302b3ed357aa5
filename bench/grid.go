package bench

import (
	"strings"
	"unicode/utf8"
)

// grid is a text table with a head row. Columns are aligned to the left, or to
// the right if the head's cell starts with rightMark.
type grid struct {
	rows [][]string
}

const rightMark = "\x00" // starts the head cell of a column of numbers

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

// write appends the lines to b, each after the indent.
func (g *grid) write(b *strings.Builder, indent string) {
	if len(g.rows) == 0 {
		return
	}
	width := make([]int, len(g.rows[0]))
	right := make([]bool, len(width))
	for i, head := range g.rows[0] {
		right[i] = strings.HasPrefix(head, rightMark)
		g.rows[0][i] = strings.TrimPrefix(head, rightMark)
	}
	for _, row := range g.rows {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range g.rows {
		line := indent
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if right[i] {
				line += pad + c + "  "
			} else {
				line += c + pad + "  "
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

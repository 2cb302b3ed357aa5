package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// minWidth is the width for pipes and files, and for terminals that are narrower.
const minWidth = 80

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width returns how many columns output to w may take.
func width(w any) int {
	columns, _ := size(w)
	return max(columns, minWidth)
}

// size returns the columns and lines of a terminal; 0 if w is none.
func size(w any) (columns, lines int) {
	switch w := w.(type) {
	case *os.File:
		columns, lines, _ = term.GetSize(int(w.Fd()))
	case *page:
		columns = w.columns
	}
	return columns, lines
}

// frame returns the text that redraws a terminal in place. Lines that do not fit are
// counted, and each is cut at the last column: one that wrapped would take two.
func frame(text string, columns, lines int) string {
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range all {
		if columns > 0 && runes(line) > columns {
			all[i] = string([]rune(line)[:columns-1]) + "…"
		}
	}
	if lines > 1 && len(all) >= lines { // the last line is the cursor's
		hidden := len(all) - (lines - 2)
		all = append(all[:lines-2], fmt.Sprintf("… %d more lines", hidden))
	}
	// Home, each line to its end, and nothing of the frame before below them.
	return "\x1b[H" + strings.Join(all, "\x1b[K\n") + "\x1b[K\n\x1b[J"
}

// wrap breaks text between words, and longer words anywhere, into lines of at most
// n characters.
func wrap(text string, n int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && runes(line)+1+runes(word) <= n {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for line = word; runes(line) > n; {
			r := []rune(line)
			lines, line = append(lines, string(r[:n])), string(r[n:])
		}
	}
	return append(lines, line)
}

// shorten leaves out the middle of text that is longer than n characters.
func shorten(text string, n int) string {
	r := []rune(text)
	if len(r) <= n {
		return text
	}
	tail := (n - 1) / 2
	return string(r[:n-1-tail]) + "…" + string(r[len(r)-tail:])
}

func runes(s string) int { return utf8.RuneCountInString(s) }

// table is rows of cells. Each row may have lines below it.
type table struct {
	rows  [][]string
	below map[int][]string
	gap   int // spaces between columns
}

func (t *table) add(row ...string) { t.rows = append(t.rows, row) }

// widths returns the width of each column, at least as given.
func widths(rows [][]string, least ...int) []int {
	for _, row := range rows {
		for i, cell := range row {
			if i == len(least) {
				least = append(least, 0)
			}
			least[i] = max(least[i], runes(cell))
		}
	}
	return least
}

// writeRow writes cells in columns. The last one is not padded.
func writeRow(w io.Writer, row []string, widths []int, gap int) error {
	var b strings.Builder
	for i, cell := range row {
		b.WriteString(cell)
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", max(0, widths[i]-runes(cell))+gap))
		}
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

func (t table) write(w io.Writer) error {
	columns := widths(t.rows)
	for i, row := range t.rows {
		if err := writeRow(w, row, columns, t.gap); err != nil {
			return err
		}
		for _, line := range t.below[i] {
			fmt.Fprintln(w, line)
		}
	}
	return nil
}

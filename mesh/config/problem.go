package config

import (
	"fmt"
	"strings"
)

// maxProblems is the number of problems that are kept; the rest are counted.
const maxProblems = 32

// pos is a position in the input; line 0 means the file as a whole.
type pos struct {
	file string
	line int
}

// String returns the prefix of an error: FILE:LINE, FILE, or "".
func (p pos) String() string {
	if p.line == 0 {
		return p.file
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

// problems collects all errors in the input.
type problems struct {
	texts []string
	count int
}

// add adds one problem, preceded by its position.
func (p *problems) add(at pos, format string, args ...any) {
	if p.count++; p.count > maxProblems {
		return
	}
	text := fmt.Sprintf(format, args...)
	if prefix := at.String(); prefix != "" {
		text = prefix + ": " + text
	}
	p.texts = append(p.texts, text)
}

// err returns nil if there are no problems, else one error that lists them.
func (p *problems) err() error {
	if p.count == 0 {
		return nil
	}
	return p
}

// Error returns the only problem, or the number of problems and then one per line.
func (p *problems) Error() string {
	if p.count == 1 {
		return p.texts[0]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d problems:", p.count)
	for _, text := range p.texts {
		b.WriteString("\n  " + text)
	}
	if more := p.count - len(p.texts); more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

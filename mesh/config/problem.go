package config

import (
	"fmt"
	"strings"
)

// maxProblems is how many problems are kept; the rest are only counted.
const maxProblems = 32

// pos is a place in the input; a zero line means the file as a whole.
type pos struct {
	file string
	line int
}

// String is the prefix of an error: FILE:LINE, FILE, or empty.
func (p pos) String() string {
	if p.line == 0 {
		return p.file
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

// problems collects everything that is wrong with the input.
type problems struct {
	texts []string
	count int
}

// add notes one problem, with its place in front.
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

// err is nil without problems, else one error in the form that Talos prints.
func (p *problems) err() error {
	if p.count == 0 {
		return nil
	}
	return p
}

// Error lists the problems, one per line.
func (p *problems) Error() string {
	var b strings.Builder
	b.WriteString("1 error occurred:")
	if p.count > 1 {
		b.Reset()
		fmt.Fprintf(&b, "%d errors occurred:", p.count)
	}
	for _, text := range p.texts {
		b.WriteString("\n\t* " + text)
	}
	if more := p.count - len(p.texts); more > 0 {
		fmt.Fprintf(&b, "\n\t* and %d more", more)
	}
	return b.String()
}

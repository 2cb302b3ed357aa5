package config

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// YAML returns v in the block style of YAML, with the keys of its JSON encoding in their
// order. The encoder of the YAML library writes the same, but also all that is not needed
// here, and is many times as large.
func YAML(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	w := yamlWriter{in: json.NewDecoder(bytes.NewReader(data))}
	w.in.UseNumber()
	w.value(0, false)
	return w.out.Bytes(), nil
}

// yamlWriter turns JSON, which is valid, into YAML.
type yamlWriter struct {
	in  *json.Decoder
	out bytes.Buffer
}

func (w *yamlWriter) next() json.Token {
	token, _ := w.in.Token()
	return token
}

// value writes the next value and a newline. All lines but the first are indented. The first
// one follows a dash or, of the value of a key, a colon: entries then begin a new line.
func (w *yamlWriter) value(indent int, ofKey bool) {
	token, margin := w.next(), strings.Repeat(" ", indent)
	start, nested := token.(json.Delim)
	switch nested = nested && w.in.More(); {
	case nested && ofKey:
		w.out.WriteString("\n" + margin)
	case ofKey:
		w.out.WriteByte(' ')
	}
	switch {
	case nested:
		w.entries(start, indent, margin)
	case start == '{':
		w.out.WriteString("{}\n")
	case start == '[':
		w.out.WriteString("[]\n")
	default:
		w.scalar(token, margin)
	}
	if start != 0 {
		w.next() // the end
	}
}

// entries writes those of a mapping or list.
func (w *yamlWriter) entries(start json.Delim, indent int, margin string) {
	for first := true; w.in.More(); first = false {
		if !first {
			w.out.WriteString(margin)
		}
		if start == '[' {
			w.out.WriteString("- ")
			w.value(indent+2, false)
			continue
		}
		key, _ := w.next().(string)
		w.out.WriteString(quoteYAML(key) + ":")
		w.value(indent/4*4+4, true)
	}
}

func (w *yamlWriter) scalar(token json.Token, margin string) {
	switch s, isString := token.(string); {
	case isString && isText(s):
		w.text(s, margin)
	case isString:
		w.out.WriteString(quoteYAML(s) + "\n")
	case token == nil:
		w.out.WriteString("null\n")
	default:
		fmt.Fprintln(&w.out, token)
	}
}

func (w *yamlWriter) text(s, margin string) {
	body, ends := strings.CutSuffix(s, "\n")
	switch {
	case !ends:
		w.out.WriteString("|-\n")
	case strings.HasSuffix(body, "\n"):
		w.out.WriteString("|+\n")
	default:
		w.out.WriteString("|\n")
	}
	for line := range strings.SplitSeq(body, "\n") {
		if line != "" {
			w.out.WriteString(margin + line)
		}
		w.out.WriteByte('\n')
	}
}

// isText reports whether a string is to be written as lines of text.
func isText(s string) bool {
	odd := func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
	return strings.Contains(s, "\n") && !strings.ContainsAny(s[:1], " \t\n") && !strings.HasSuffix(s, " ") &&
		!strings.Contains(s, " \n") && !strings.ContainsFunc(s, odd)
}

// quoteYAML returns a string, in quotes if it would mean something else without them.
func quoteYAML(s string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	bare := yaml.Node{Kind: yaml.ScalarNode, Value: s}
	switch {
	case !utf8.ValidString(s):
		return "!!binary " + base64.StdEncoding.EncodeToString([]byte(s))
	case bare.ShortTag() != "!!str", otherInYAML11(s), strings.ContainsFunc(s, odd):
		return strconv.Quote(s) // YAML has all escapes of Go
	case strings.ContainsAny(s[:1], " #,[]{}&*!|>'\"%@`"), strings.HasPrefix(s, "---"), strings.HasPrefix(s, "..."),
		strings.HasPrefix(s+" ", "- "), strings.HasPrefix(s+" ", "? "), strings.HasSuffix(s, " "),
		strings.Contains(s+" ", ": "), strings.Contains(s, " #"):
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return s
}

// otherInYAML11 reports whether readers of YAML 1.1, as many are, take a string for a truth
// value or for a number to the base 60.
func otherInYAML11(s string) bool {
	switch strings.ToLower(s) {
	case "y", "yes", "on", "n", "no", "off":
		return true
	}
	first, others, found := strings.Cut(strings.TrimLeft(s, "+-"), ":")
	others, fraction, _ := strings.Cut(others, ".")
	if !found || first == "" || strings.Trim(first+fraction, "0123456789_") != "" {
		return false
	}
	for digits := range strings.SplitSeq(others, ":") {
		if n, err := strconv.ParseUint(digits, 10, 8); err != nil || n > 59 || len(digits) > 2 {
			return false
		}
	}
	return true
}

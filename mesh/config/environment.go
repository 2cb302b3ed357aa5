package config

import "strings"

// ParseEnvironment reads an EnvironmentFile of systemd.exec(5): lines NAME=VALUE, of which a
// value may have quotes, and backslashes as in sh(1). The last of two lines counts.
func ParseEnvironment(text string) map[string]string {
	out := map[string]string{}
	for text != "" {
		line := strings.TrimLeft(text, " \t\r\n")
		if line == "" {
			break
		}
		if line[0] == '#' || line[0] == ';' {
			_, text, _ = strings.Cut(line, "\n")
			continue
		}
		end := strings.IndexAny(line, "=\n")
		if end < 0 || line[end] == '\n' { // no variable
			_, text, _ = strings.Cut(line, "\n")
			continue
		}
		out[strings.TrimRight(line[:end], " \t")], text = environmentValue(line[end+1:])
	}
	return out
}

// environmentValue returns the value with which text begins, and the text after its line.
func environmentValue(text string) (value, rest string) {
	var b strings.Builder
	kept := 0 // bytes of the value without white space at its end
	bare := false
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && c == '\n':
			return b.String()[:kept], text[i+1:]
		case quote == 0 && !bare && (c == '"' || c == '\''):
			quote = c
		case c == '\\' && quote != '\'':
			if i++; i == len(text) {
				break
			}
			if quote == '"' && !strings.ContainsRune("\"\\`$\n", rune(text[i])) {
				b.WriteByte(c)
			}
			if text[i] != '\n' {
				b.WriteByte(text[i])
			}
			bare, kept = quote == 0, b.Len()
		case quote == 0 && (c == ' ' || c == '\t' || c == '\r'):
			if bare {
				b.WriteByte(c)
			}
		default:
			b.WriteByte(c)
			bare, kept = quote == 0, b.Len()
		}
	}
	return b.String()[:kept], ""
}

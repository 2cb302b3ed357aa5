package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxHead bounds the first line and the fields of a message.
const maxHead = 16 << 10

var errHeadTooLarge = fmt.Errorf("the head is larger than %d bytes", maxHead)

// malformed is an error in what the other side has sent.
type malformed string

func (e malformed) Error() string { return string(e) }

// fields are those of a head, by name in lower case.
type fields map[string][]string

// readHead reads the first line and the fields of a message. It returns io.EOF if there is
// nothing at all.
func readHead(in *bufio.Reader) (first string, f fields, err error) {
	left := maxHead
	if first, err = readLine(in, &left); err != nil {
		return "", nil, err
	}
	f = fields{}
	for {
		line, err := readLine(in, &left)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil || line == "" {
			return first, f, err
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return "", nil, malformed(fmt.Sprintf("malformed header line %.40q", line))
		}
		name = strings.ToLower(name)
		f[name] = append(f[name], strings.Trim(value, " \t"))
	}
}

// readLine reads a line without its end, of at most left bytes, and takes it off left.
func readLine(in *bufio.Reader, left *int) (string, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if *left -= len(part); *left < 0 {
			return "", errHeadTooLarge
		}
		line = append(line, part...)
		if err == nil {
			break
		}
		if errors.Is(err, io.EOF) && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
	text := strings.TrimSuffix(string(line[:len(line)-1]), "\r")
	if i := strings.IndexFunc(text, isControl); i >= 0 {
		return "", malformed(fmt.Sprintf("control character %q in the head", text[i]))
	}
	return text, nil
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// isToken reports whether s is a token of RFC 9110 §5.6.2: a method, or the name of a field.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && ('0' > c || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

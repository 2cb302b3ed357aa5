package config

import (
	"fmt"
	"strings"
	"unicode"
)

// Kind is the type of a setting's value.
type Kind int

// Kinds of settings. Lists are separated by commas in flags and environment.
const (
	KindString Kind = iota
	KindBool
	KindInt
	KindList
)

// Setting describes one setting of WirespanConfig, which is also a flag and an
// environment variable. None is secret.
type Setting struct {
	Key     string // in YAML; "logging.level" is level below logging
	Kind    Kind
	Values  []string // all that are allowed, if few are
	Default string   // empty: the agent decides
	Example string   // a valid value, where there is no default
	Help    string   // one sentence
	Restart bool     // a change applies only after a restart

	at func(*Wirespan) target
}

// Flag is the setting's flag without dashes: "listen-port".
func (s Setting) Flag() string { return strings.ToLower(s.words("-")) }

// Env is the setting's environment variable: "WIRESPAN_LISTEN_PORT".
func (s Setting) Env() string { return "WIRESPAN_" + strings.ToUpper(s.words("_")) }

// words puts a separator between the words of the key.
func (s Setting) words(separator string) string {
	var b strings.Builder
	for _, r := range s.Key {
		switch {
		case r == '.':
			b.WriteString(separator)
		case unicode.IsUpper(r):
			b.WriteString(separator + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// split returns the section of the key, empty at the top, and the rest.
func (s Setting) split() (section, key string) {
	if section, key, nested := strings.Cut(s.Key, "."); nested {
		return section, key
	}
	return "", s.Key
}

// target is a setting's field in a Wirespan.
type target interface {
	set(parts []string) error // one part, or any number for a list
	text() string             // equal texts mean equal values
}

// scalar is a field of type T that is read by parse.
type scalar[T any] struct {
	field *T
	parse func(string) (T, error)
}

func (s scalar[T]) set(parts []string) error {
	v, err := s.parse(parts[0])
	if err == nil {
		*s.field = v
	}
	return err
}

func (s scalar[T]) text() string { return fmt.Sprint(*s.field) }

// list is a field of type []T; setting it replaces what was there.
type list[T any] struct {
	field *[]T
	parse func(string) (T, error)
}

func (l list[T]) set(parts []string) error {
	if len(parts) > maxListItems {
		return fmt.Errorf("more than %d items", maxListItems)
	}
	items := make([]T, 0, len(parts))
	for _, part := range parts {
		item, err := l.parse(part)
		if err != nil {
			return err
		}
		items = append(items, item)
	}
	*l.field = items
	return nil
}

func (l list[T]) text() string { return fmt.Sprint(*l.field) }

// checkedList is a list whose items must fit together.
type checkedList[T any] struct {
	list[T]
	check func([]T) error
}

func (c checkedList[T]) set(parts []string) error {
	var items []T
	err := list[T]{&items, c.parse}.set(parts)
	if err == nil {
		err = c.check(items)
	}
	if err == nil {
		*c.field = items
	}
	return err
}

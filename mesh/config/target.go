package config

import (
	"fmt"
	"strconv"
)

// target is the field of a Wirespan that holds the value of a setting.
type target interface {
	set(parts []string) error // one part; for a list any number
	text() string             // equal for equal values only
}

// scalar is a field of type T, whose text is read by parse.
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

// list is a field of type []T. Setting it replaces the whole list.
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

// checkedList is a list that is checked as a whole, too.
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

// optionalBool is a boolean that may be unset.
type optionalBool struct{ field **bool }

func (o optionalBool) set(parts []string) error {
	v, err := parseBool(parts[0])
	if err == nil {
		*o.field = &v
	}
	return err
}

func (o optionalBool) text() string {
	if *o.field == nil {
		return ""
	}
	return strconv.FormatBool(**o.field)
}

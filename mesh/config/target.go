package config

// target is the field of a Wirespan that holds the value of a setting.
type target struct {
	field any                        // a pointer to it
	set   func(parts []string) error // one part; for a list any number
}

// scalar is a field whose text is read by parse.
func scalar[T any](field *T, parse func(string) (T, error)) target {
	return target{field, func(parts []string) error {
		v, err := parse(parts[0])
		if err == nil {
			*field = v
		}
		return err
	}}
}

// list is a field of which each item is read by parse, and that is then checked as a whole,
// unless check is nil. Setting it replaces the whole list.
func list[T any](field *[]T, parse func(string) (T, error), check func([]T) error) target {
	return target{field, func(parts []string) error {
		items := make([]T, len(parts))
		for i, part := range parts {
			var err error
			if items[i], err = parse(part); err != nil {
				return err
			}
		}
		if check != nil {
			if err := check(items); err != nil {
				return err
			}
		}
		*field = items
		return nil
	}}
}

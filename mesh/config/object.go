package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxListItems is the limit of every list.
const maxListItems = 1024

// text is a scalar and its position.
type text struct {
	value string
	at    pos
}

// object is a YAML mapping that is read key by key. Its methods return zero values
// for keys that are absent or null, and add a problem for a value of the wrong
// type without quoting it: it may be secret.
type object struct {
	problems *problems
	at       pos
	path     string // to this mapping, with a trailing dot; empty at the top
	keys     []string
	fields   map[string]field
	taken    map[string]bool
}

type field struct {
	at    pos
	value *yaml.Node
}

// newObject reads n as a mapping, or adds a problem if it isn't one.
func newObject(p *problems, n *yaml.Node, at pos, path string) *object {
	o := &object{problems: p, at: at, path: path, fields: map[string]field{}, taken: map[string]bool{}}
	if n = resolve(n); n.Kind != yaml.MappingNode {
		p.add(at, "%s: expected a mapping", strings.TrimSuffix(path, "."))
		return o
	}
	// Merge keys (<<) add the keys that are missing. A mapping that is reached again
	// adds nothing, so cycles and repeated aliases are harmless.
	seen := map[*yaml.Node]bool{}
	for stack := []*yaml.Node{n}; len(stack) > 0; {
		m := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !seen[m] {
			seen[m] = true
			merges := o.addPairs(m, m == n)
			slices.Reverse(merges) // the first is popped first
			stack = append(stack, merges...)
		}
	}
	return o
}

// addPairs adds the pairs of m and returns the mappings that m merges.
func (o *object) addPairs(m *yaml.Node, own bool) (merges []*yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := resolve(m.Content[i]), m.Content[i+1]
		at := pos{o.at.file, m.Content[i].Line}
		if key.Tag == "!!merge" {
			merges = append(merges, mergeSources(value)...)
			continue
		}
		if key.Kind != yaml.ScalarNode {
			o.problems.add(at, "%sexpected a plain key", o.prefix())
			continue
		}
		if old, exists := o.fields[key.Value]; exists {
			if own {
				o.problems.add(at, "mapping key %.100q already defined at line %d", key.Value, old.at.line)
			}
			continue
		}
		o.keys = append(o.keys, key.Value)
		o.fields[key.Value] = field{at, value}
	}
	return merges
}

func mergeSources(n *yaml.Node) (sources []*yaml.Node) {
	n = resolve(n)
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			if item = resolve(item); item.Kind == yaml.MappingNode {
				sources = append(sources, item)
			}
		}
		return sources
	}
	if n.Kind == yaml.MappingNode {
		sources = append(sources, n)
	}
	return sources
}

// resolve follows an alias. An anchor can't be an alias itself.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func (o *object) prefix() string {
	if o.path == "" {
		return ""
	}
	return strings.TrimSuffix(o.path, ".") + ": "
}

// take returns the value of a key, or nil if it is absent or null.
func (o *object) take(key string) (*yaml.Node, pos) {
	f, exists := o.fields[key]
	o.taken[key] = true
	if !exists {
		return nil, o.at
	}
	n := resolve(f.value)
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil, f.at
	}
	return n, f.at
}

// object reads the mapping of a key, or returns nil if it is absent.
func (o *object) object(key string) *object {
	n, at := o.take(key)
	if n == nil {
		return nil
	}
	return newObject(o.problems, n, at, o.path+key+".")
}

// scalar decodes the value of a key into a pointer to a plain Go type.
func (o *object) scalar(key, kind string, into any) pos {
	n, at := o.take(key)
	if n == nil {
		return at
	}
	if n.Kind != yaml.ScalarNode || n.Decode(into) != nil {
		o.problems.add(at, "%s%s: expected %s", o.path, key, kind)
	}
	return at
}

// wholeNumber reads a number, and reports whether there is one. It refuses 1420.5,
// which the YAML decoder would round.
func (o *object) wholeNumber(key string) (v int64, given bool, at pos) {
	n, at := o.take(key)
	if n == nil {
		return 0, false, at
	}
	if !decodeInt(n, &v) {
		o.problems.add(at, "%s%s: expected a whole number", o.path, key)
		return 0, false, at
	}
	return v, true, at
}

// decodeInt reports whether n is a whole number, and stores it in v.
func decodeInt(n *yaml.Node, v *int64) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" && n.Decode(v) == nil
}

func (o *object) bool(key string) (v bool) {
	o.scalar(key, "true or false", &v)
	return v
}

func (o *object) text(key string) (v text) {
	v.at = o.scalar(key, "a string", &v.value)
	return v
}

// list reads a list of strings. It returns nil only if the key is absent or the
// value is invalid.
func (o *object) list(key string) []text {
	n, at := o.take(key)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) > maxListItems {
		o.problems.add(at, "%s%s: expected a list of at most %d strings", o.path, key, maxListItems)
		return nil
	}
	items := make([]text, 0, len(n.Content))
	for _, c := range n.Content {
		item := text{at: pos{o.at.file, c.Line}}
		if c = resolve(c); c.Kind != yaml.ScalarNode || c.Decode(&item.value) != nil {
			o.problems.add(item.at, "%s%s: expected a list of strings", o.path, key)
			continue
		}
		items = append(items, item)
	}
	return items
}

// objects reads a list of mappings, without the items that are not mappings.
func (o *object) objects(key string, limit int) (objects []*object) {
	n, at := o.take(key)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) > limit {
		o.problems.add(at, "%s%s: expected a list of at most %d mappings", o.path, key, limit)
		return nil
	}
	for i, c := range n.Content {
		path := fmt.Sprintf("%s%s[%d].", o.path, key, i)
		item := newObject(o.problems, c, pos{o.at.file, c.Line}, path)
		if resolve(c).Kind == yaml.MappingNode {
			objects = append(objects, item)
		}
	}
	return objects
}

// setting reads a value of the given kind as text. Parts are nil if it is absent, null or
// an empty text.
func (o *object) setting(key string, kind Kind) (parts []string, at pos, err error) {
	n, at := o.take(key)
	if n == nil {
		return nil, at, nil
	}
	if kind.IsList() {
		items := o.list(key)
		if items == nil {
			return nil, at, nil
		}
		parts = make([]string, 0, len(items)) // an empty list takes the place of another one
		for _, item := range items {
			parts = append(parts, item.value)
		}
		return parts, at, nil
	}
	var asBool bool
	var asInt int64
	var asString string
	switch {
	case n.Kind != yaml.ScalarNode:
		err = errors.New("expected a single value")
	case kind == KindBool:
		if err = n.Decode(&asBool); err != nil {
			err = errors.New("expected true or false")
		}
		asString = strconv.FormatBool(asBool)
	case kind == KindInt:
		if !decodeInt(n, &asInt) {
			err = errors.New("expected a whole number")
		}
		asString = strconv.FormatInt(asInt, 10)
	default:
		err = n.Decode(&asString)
	}
	if err != nil || asString == "" {
		return nil, at, err
	}
	return []string{asString}, at, nil
}

// finish adds a problem that lists all keys that were not read, in the order of the
// file.
func (o *object) finish() {
	var known []string
	for key := range o.taken {
		known = append(known, key)
	}
	slices.Sort(known)
	var unknown []string
	first := o.at
	for _, key := range o.keys {
		if o.taken[key] {
			continue
		}
		if len(unknown) == 0 {
			first = o.fields[key].at
		}
		hint := ""
		if name := NearMiss(key, known...); name != "" {
			hint = fmt.Sprintf("; did you mean %q?", name)
		}
		unknown = append(unknown, fmt.Sprintf("%s%s (line %d%s)", o.path, clip(key), o.fields[key].at.line, hint))
	}
	if len(unknown) == 0 {
		return
	}
	if more := len(unknown) - maxProblems; more > 0 {
		unknown = append(unknown[:maxProblems], fmt.Sprintf("and %d more", more))
	}
	o.problems.add(first, "unknown keys found during decoding: %s", strings.Join(unknown, ", "))
}

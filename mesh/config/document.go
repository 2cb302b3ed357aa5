package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// apiVersion is that of every document. In error texts it is also the kind of a
// machine configuration, which has none.
const apiVersion = "v1alpha1"

// Kinds of documents that this package reads.
const (
	kindKubeSpan          = "KubeSpanConfig"
	kindKubeSpanEndpoints = "KubeSpanEndpointsConfig"
	kindDiscoveryService  = "DiscoveryServiceConfig"
	kindDiscoveryIdentity = "DiscoveryIdentityConfig"
	kindDefaultAction     = "NetworkDefaultActionConfig"
	kindRule              = "NetworkRuleConfig"
	kindWirespan          = "WirespanConfig"
)

// loader reads documents, then validates them.
type loader struct {
	problems
	documents
	count int                   // of documents
	seen  map[documentID]string // the file of each
}

// documents holds what was read, before it is validated.
type documents struct {
	cfg        *Config
	legacy     *legacy
	services   []service        // DiscoveryServiceConfig
	serviceAt  pos              // the first service, of either kind of document
	settings   map[string]given // each setting that was given, by key: the last one
	wirespanAt pos              // WirespanConfig, the last one

	kubespan, kubespanDocument *kubespan // the effective one; KubeSpanConfig
	identity, identityDocument *identity // the effective one; DiscoveryIdentityConfig
}

type documentID struct{ kind, name string }

// read reads every document of a file.
func (l *loader) read(f File) { l.each(f, l.document) }

// each calls document for every one of a file that is a mapping.
func (l *loader) each(f File, document func(*object)) {
	decoder := yaml.NewDecoder(bytes.NewReader(f.Data))
	for {
		var n yaml.Node
		err := decoder.Decode(&n)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			l.syntaxError(f.Name, err)
			return
		}
		if l.count++; l.count > maxDocuments {
			l.add(pos{f.Name, n.Line}, "more than %d documents", maxDocuments)
			return
		}
		for _, root := range n.Content {
			at := pos{f.Name, root.Line}
			switch {
			case root.Kind == yaml.MappingNode:
				document(newObject(&l.problems, root, at, ""))
			case root.ShortTag() != "!!null": // an empty document is skipped
				l.add(at, "expected a YAML document at line %d", root.Line)
			}
		}
	}
}

// syntaxError adds an error of the YAML parser, with its line as a position.
func (l *loader) syntaxError(file string, err error) {
	at, message := pos{file: file}, err.Error()
	if rest, ok := strings.CutPrefix(message, "yaml: line "); ok {
		number, text, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			at.line, message = line, "yaml: "+text
		}
	}
	l.add(at, "%s", message)
}

// document reads one mapping as a document of its kind.
func (l *loader) document(o *object) {
	if _, has := o.fields["kind"]; !has && isLegacy(o) {
		if l.unique(o, documentID{kind: "", name: ""}) {
			l.readLegacy(o)
		}
		return
	}
	kind, version := o.text("kind"), o.text("apiVersion")
	switch {
	case kind.value == "":
		l.add(o.at, "missing kind")
	case version.value == "":
		l.add(o.at, "missing apiVersion")
	case version.value != apiVersion:
		l.add(kind.at, "%.100q %.100q: not registered", kind.value, version.value)
	default:
		l.kind(o, kind)
	}
}

func (l *loader) kind(o *object, kind text) {
	var readDocument func(*object)
	id := documentID{kind: kind.value}
	switch kind.value {
	case kindKubeSpan:
		readDocument = l.readKubeSpan
	case kindKubeSpanEndpoints:
		readDocument = l.readKubeSpanEndpoints
	case kindDiscoveryService:
		name := o.text("name")
		id.name = name.value
		readDocument = func(o *object) { l.readService(o, name) }
	case kindDiscoveryIdentity:
		readDocument = l.readIdentity
	case kindDefaultAction:
		readDocument = l.readDefaultAction
	case kindRule:
		name := o.text("name")
		id.name = name.value
		readDocument = func(o *object) { l.readHostRule(o, name) }
	case kindWirespan:
		readDocument = l.readWirespan
	default:
		l.foreign(o, kind)
		return
	}
	// Documents of this agent's settings are layers: of each setting the last one counts.
	if id.kind == kindWirespan || l.unique(o, id) {
		readDocument(o)
		o.finish()
	}
}

// foreign skips a document of another kind, unless that looks like a misspelling.
func (l *loader) foreign(o *object, kind text) {
	ours := []string{
		kindKubeSpan, kindKubeSpanEndpoints, kindDiscoveryService, kindDiscoveryIdentity, kindDefaultAction, kindRule, kindWirespan,
	}
	if name := NearMiss(kind.value, ours...); name != "" {
		l.add(kind.at, "%.100q %q: not registered; did you mean %q?", kind.value, apiVersion, name)
		return
	}
	l.cfg.Ignored = append(l.cfg.Ignored, Ignored{Kind: clip(kind.value), File: o.at.file, Line: o.at.line})
}

// unique reports whether o is the first document with that id, and adds a problem
// if not. Talos has one text for duplicates within a file and another across files.
func (l *loader) unique(o *object, id documentID) bool {
	if l.seen == nil {
		l.seen = map[documentID]string{}
	}
	file, duplicate := l.seen[id]
	switch {
	case !duplicate:
		l.seen[id] = o.at.file
	case file == o.at.file:
		version := ""
		if id.kind != "" {
			version = apiVersion
		}
		l.add(o.at, "duplicate document %s/%s/%s is not allowed (line %d)", version, cmp.Or(id.kind, apiVersion), clip(id.name), o.at.line)
	case id.kind == "":
		l.add(o.at, "duplicate v1alpha1.Config")
	default:
		l.add(o.at, "duplicate document: %s/%s", id.kind, clip(id.name))
	}
	return !duplicate
}

// clip makes a name from the input short and printable, for log lines.
func clip(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, fmt.Sprintf("%.100s", name))
}

package config

// Keys of what is no [Setting], in [Config.Given].
const (
	keyIngressDefault = "ingress.defaultAction"
	keyIngressRules   = "ingress.rules"
)

// given is a setting as it was given.
type given struct {
	value string
	at    pos
}

// Given is a value of WirespanConfig that was given, with the place that it comes from: of
// several the last one.
type Given struct {
	Key    string
	Value  string // the items of a list are separated by commas
	Source string // FILE:LINE, a flag or an environment variable
}

// note notes where a value comes from.
func (l *loader) note(key, value string, at pos) {
	if l.settings == nil {
		l.settings = map[string]given{}
	}
	l.settings[key] = given{clip(value), at}
}

// given lists the values that were given, in the order of Settings.
func (l *loader) given() (out []Given) {
	add := func(key string) {
		if g, isGiven := l.settings[key]; isGiven {
			out = append(out, Given{key, g.value, g.at.String()})
		}
	}
	for s := range Settings() {
		add(s.Key)
	}
	add(keyIngressDefault)
	add(keyIngressRules)
	return out
}

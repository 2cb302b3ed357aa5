package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wirespan/wirespan/mesh/config"
)

// settingFlag is a setting as given on the command line. A list may come in
// one flag, separated by commas, or in several.
type settingFlag struct {
	kind   config.Kind
	values []string
}

func (f *settingFlag) String() string { return strings.Join(f.values, ",") }

func (f *settingFlag) Set(v string) error {
	if f.kind != config.KindList {
		f.values = nil // the last one counts
	}
	f.values = append(f.values, v)
	return nil
}

// Type is what help shows as the value.
func (f *settingFlag) Type() string {
	switch f.kind {
	case config.KindBool:
		return "bool"
	case config.KindInt:
		return "int"
	case config.KindList:
		return "list"
	}
	return "string"
}

// addSetting makes a flag of a setting.
func addSetting(root *cobra.Command, s config.Setting) {
	help := s.Help
	if len(s.Values) > 0 {
		help += " One of: " + strings.Join(s.Values, ", ") + "."
	}
	if s.Default != "" {
		help += " (default " + s.Default + ")"
	}
	f := &pflag.Flag{Name: s.Flag(), Usage: help, Value: &settingFlag{kind: s.Kind}}
	if s.Kind == config.KindBool {
		f.NoOptDefVal = "true"
	}
	root.PersistentFlags().AddFlag(f)
	if len(s.Values) > 0 {
		_ = root.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(s.Values, cobra.ShellCompDirectiveNoFileComp))
	}
}

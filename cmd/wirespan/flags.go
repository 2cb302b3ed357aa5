package main

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wirespan/wirespan/mesh/config"
)

// settingFlag is a setting as given on the command line. A list may come in
// one flag or in several.
type settingFlag struct {
	kind   config.Kind
	values []string
}

func (f *settingFlag) String() string { return f.kind.Join(f.values) }

func (f *settingFlag) Set(v string) error {
	if !f.kind.IsList() {
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
	case config.KindList, config.KindWords:
		return "list"
	}
	return "string"
}

// newSettingFlag makes a flag of a setting.
func newSettingFlag(s *config.Setting) *pflag.Flag {
	help := s.Help
	if len(s.Values) > 0 {
		help += " One of: " + strings.Join(s.Values, ", ") + "."
	}
	if s.Default != "" {
		help += " (default " + s.Default + ")"
	}
	f := &pflag.Flag{Name: s.Flag(), Shorthand: s.Short, Usage: help, Value: &settingFlag{kind: s.Kind}}
	if s.Kind == config.KindBool {
		f.NoOptDefVal = "true"
	}
	return f
}

// configures gives the flags of every setting, and of files, to a command that
// runs or configures an agent.
func (c *cli) configures(cmd *cobra.Command) *cobra.Command {
	c.takesAll(cmd)
	cmd.Flags().VarP((*texts)(&c.files), "config", "c",
		"configuration `FILE`, directory of *.yaml, or - for standard input; repeatable (default "+defaultConfig+" if it is there)")
	_ = cmd.MarkFlagFilename("config")
	return cmd
}

// takesAll gives a command the flags of every setting.
func (c *cli) takesAll(cmd *cobra.Command) *cobra.Command {
	var keys []string
	for s := range config.Settings() {
		keys = append(keys, s.Key)
	}
	return c.takes(cmd, keys...)
}

// takes gives a command the flags of some settings.
func (c *cli) takes(cmd *cobra.Command, keys ...string) *cobra.Command {
	for s := range config.Settings() {
		if !slices.Contains(keys, s.Key) {
			continue
		}
		if c.flags.Lookup(s.Flag()) == nil {
			c.flags.AddFlag(newSettingFlag(s))
		}
		cmd.Flags().AddFlag(c.flags.Lookup(s.Flag()))
		switch {
		case len(s.Values) > 0:
			c.completes(cmd, s.Flag(), cobra.FixedCompletions(s.Values, cobra.ShellCompDirectiveNoFileComp))
		case strings.HasSuffix(s.Key, "Dir"):
			_ = cmd.MarkFlagDirname(s.Flag())
		case strings.HasSuffix(s.Key, "Socket"):
			_ = cmd.MarkFlagFilename(s.Flag())
		}
	}
	return cmd
}

// texts is a flag that may come several times. Those of pflag bring encoding/csv along.
type texts []string

func (t *texts) Set(text string) error {
	*t = append(*t, text)
	return nil
}

func (t *texts) String() string { return strings.Join(*t, ",") }

func (*texts) Type() string { return "stringSlice" } // as cobra knows what may be repeated

// seconds is a flag of a duration: 1.5, 1.5s or 200ms.
type seconds time.Duration

func (s *seconds) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(n) < 1e9 {
		*s = seconds(n * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("not a duration") // flagError says it
	}
	*s = seconds(d)
	return nil
}

func (s *seconds) String() string { return time.Duration(*s).String() }

func (*seconds) Type() string { return "duration" }

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wirespan/wirespan/mesh/config"
)

// helpWidth is how many columns help takes at most.
const helpWidth = 80

// group makes a command that only holds others: without arguments it shows its
// help, with an unknown one it is a usage error.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		text := fmt.Sprintf("unknown command %q", args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text += ": did you mean " + strings.Join(near, " or ") + "?"
		}
		return usageError{errors.New(text)}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// arguments checks the number of arguments. A command names them in its Use.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch n := len(args); {
		case n > most:
			return usageError{fmt.Errorf("unexpected argument %q", args[most])}
		case n < least:
			return usageError{fmt.Errorf("%s is missing", strings.TrimSuffix(strings.Fields(cmd.Use)[n+1], "..."))}
		}
		return nil
	}
}

// flagError says what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		err = unknownFlag(cmd, unknown)
	case errors.As(err, &missing):
		err = fmt.Errorf("--%s needs a value", missing.GetFlag().Name)
	case errors.As(err, &invalid):
		err = fmt.Errorf("--%s: %s", invalid.GetFlag().Name, wrongValue(invalid))
	}
	return usageError{err}
}

func unknownFlag(cmd *cobra.Command, e *pflag.NotExistError) error {
	name := e.GetSpecifiedName()
	if e.GetSpecifiedShortnames() != "" {
		return fmt.Errorf("unknown flag -%s", name)
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := config.NearMiss(name, known...); near != "" {
		return fmt.Errorf("unknown flag --%s: did you mean --%s?", name, near)
	}
	return fmt.Errorf("unknown flag --%s", name)
}

// wrongValue says what a flag's value should be.
func wrongValue(e *pflag.InvalidValueError) string {
	kind := map[string]string{
		"bool": "true or false", "int": "a whole number", "uint16": "a number from 0 to 65535", "float64": "a number", "intSlice": "a list of whole numbers such as 1,4",
		"duration": "a duration such as 1m30s or 200ms",
	}[e.GetFlag().Value.Type()]
	if kind == "" {
		return e.Unwrap().Error()
	}
	return fmt.Sprintf("%q is not %s", e.GetValue(), kind)
}

// help is the command that shows the help of others.
func help(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Example: "  wirespan help up",
		Args:    cobra.ArbitraryArgs,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if cmd, _, err := root.Find(args); err == nil {
				for _, sub := range cmd.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, sub.Name())
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = cmd.Args(cmd, rest)
			}
			if err != nil {
				return err
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// printHelp prints the help of a command, its paragraphs broken into lines.
func printHelp(cmd *cobra.Command, _ []string) {
	w := cmd.OutOrStdout()
	for paragraph := range strings.SplitSeq(cmp.Or(cmd.Long, cmd.Short), "\n\n") {
		if !strings.HasPrefix(paragraph, " ") && !strings.HasPrefix(paragraph, "\t") {
			paragraph = strings.Join(wrap(paragraph, helpWidth), "\n")
		}
		fmt.Fprintf(w, "%s\n\n", strings.TrimRight(paragraph, "\n"))
	}
	_ = cmd.Usage()
}

// usage prints what help shows below the description.
func usage(cmd *cobra.Command) error {
	w := cmd.OutOrStdout()
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " [command]"
	}
	fmt.Fprintf(w, "Usage:\n  %s\n", line)
	if cmd.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprint(w, "\nCommands:\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-*s %s\n", sub.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	printFlags(w, cmd)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nRun '%s [command] --help' for more about a command.\n", cmd.CommandPath())
	}
	return nil
}

// printFlags prints the flags of a command. Those that are settings come last if
// all of them are there.
func printFlags(w io.Writer, cmd *cobra.Command) {
	own, settings := pflag.NewFlagSet("", 0), pflag.NewFlagSet("", 0)
	several := cmd.Flags().Lookup("state-dir") != nil
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, setting := f.Value.(*settingFlag); setting && several {
			settings.AddFlag(f)
		} else {
			own.AddFlag(f)
		}
	})
	fmt.Fprintf(w, "\nFlags:\n%s", own.FlagUsagesWrapped(helpWidth))
	if settings.HasFlags() {
		fmt.Fprintf(w, "\nSettings, also as keys of the configuration file and as WIRESPAN_ variables:\n%s",
			settings.FlagUsagesWrapped(helpWidth))
	}
}

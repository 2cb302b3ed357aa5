//go:build !edge

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/bench"
)

func (c *cli) benchCompare() *cobra.Command {
	var failBelow float64
	cmd := &cobra.Command{
		Use:   "compare BEFORE.json AFTER.json",
		Short: "Compare two reports",
		Long: "Compare two reports of wirespan bench … -o json: per subject and metric the ratio\n" +
			"with a 95 % interval, and relative to the base subject where both reports have\n" +
			"the same, which cancels what the machine itself gained or lost in between.\n\n" +
			"With --fail-below, an improvement under it whose interval excludes 1, or a figure\n" +
			"that is no longer there, makes the exit code 1.",
		Example: "  wirespan bench compare old.json new.json --fail-below 0.95",
		Args:    arguments(2, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			if failBelow < 0 || failBelow > 1 {
				return usageError{fmt.Errorf("--fail-below %v: use a ratio from 0 (never fail) to 1", failBelow)}
			}
			before, err := readReport(args[0])
			if err != nil {
				return err
			}
			after, err := readReport(args[1])
			if err != nil {
				return err
			}
			comparison := bench.Compare(before, after, failBelow)
			if err := comparison.WriteTable(c.out); err != nil {
				return err
			}
			if n := len(comparison.Failures()); n > 0 {
				return silentError{fmt.Errorf("figures that failed: %d", n)}
			}
			if len(comparison.Changes) == 0 {
				return errors.New("nothing to compare")
			}
			return nil
		},
	}
	cmd.ValidArgsFunction = offerFiles
	cmd.Flags().Float64Var(&failBelow, "fail-below", 0, "exit 1 if a figure has become worse than this ratio, such as 0.95")
	return cmd
}

func readReport(name string) (*bench.Report, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return bench.Decode(file, name)
}

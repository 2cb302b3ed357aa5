package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/config"
)

// outputs are the values of -o.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

// outputFlag adds -o to a command.
func (c *cli) outputFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVarP(into, "output", "o", outputTable, "output format: table, json or yaml")
	c.completes(cmd, "output", cobra.FixedCompletions([]string{outputTable, outputJSON, outputYAML}, cobra.ShellCompDirectiveNoFileComp))
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		switch *into {
		case outputTable, outputJSON, outputYAML:
		default:
			return usageError{fmt.Errorf("--output %q: use table, json or yaml", *into)}
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// writeData writes v as JSON or YAML; both have the keys and order of the JSON
// encoding.
func writeData(w io.Writer, format string, v any) error {
	if format == outputYAML {
		data, err := config.YAML(v)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	}
	data, err := json.MarshalIndent(v, "", "    ")
	if err == nil {
		_, err = fmt.Fprintf(w, "%s\n", data)
	}
	return err
}

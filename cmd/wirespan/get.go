package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
)

// column is a table column: its title and the spec's key. Keys of nested
// objects are joined by dots.
type column struct{ title, key string }

// columns of each resource type, after ID and VERSION.
var columns = map[string][]column{
	"kubespanidentities":   {{"ADDRESS", "address"}, {"PUBLICKEY", "publicKey"}},
	"kubespanpeerspecs":    {{"LABEL", "label"}, {"ENDPOINTS", "endpoints"}},
	"kubespanpeerstatuses": {{"LABEL", "label"}, {"ENDPOINT", "endpoint"}, {"STATE", "state"}, {"RX", "receiveBytes"}, {"TX", "transmitBytes"}},
	"kubespanendpoints":    {{"ENDPOINT", "endpoint"}, {"AFFILIATE ID", "affiliateID"}},
	"kubespanconfigs":      {{"ENABLED", "enabled"}, {"FORCE ROUTING", "forceRouting"}, {"HARVEST", "harvestExtraEndpoints"}, {"MTU", "mtu"}},
	"identities":           {{"NODE ID", "nodeId"}},
	"affiliates":           {{"HOSTNAME", "hostname"}, {"MACHINE TYPE", "machineType"}, {"ADDRESSES", "addresses"}},
	"members":              {{"HOSTNAME", "hostname"}, {"MACHINE TYPE", "machineType"}, {"OS", "operatingSystem"}, {"ADDRESSES", "addresses"}},
	"routes":               {{"PEER", "peer"}, {"STATE", "state"}, {"PATH", "path"}},
	"conflicts":            {{"MESSAGE", "message"}},
	"rules":                {{"RULE", "rule"}},
}

func (c *cli) get() *cobra.Command {
	var output string
	var watch, secrets bool
	cmd := &cobra.Command{
		Use:   "get RESOURCE [ID]",
		Short: "Show resources of the running agent",
		Long:  "Show resources of the running agent. Resources:\n\n" + resourceHelp(),
		Example: "  wirespan get kubespanpeerstatuses\n" +
			"  wirespan get peerspecs -o yaml\n" +
			"  wirespan get members -w",
		Args: arguments(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return resourceNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			typ, err := agent.FindResourceType(args[0])
			if err != nil {
				return usageError{err}
			}
			query := control.ResourceQuery{Type: typ, Secrets: secrets}
			if len(args) > 1 {
				query.ID = args[1]
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			g := getter{c.out, output, typ}
			if watch {
				ctx, stop := untilSignal(cmd.Context())
				defer stop()
				return quietCancel(cl.WatchResources(ctx, query, g.event()))
			}
			return g.list(cmd.Context(), cl, query)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on and show every change")
	cmd.Flags().BoolVar(&secrets, "show-secrets", false, "show private keys and the cluster secret")
	outputFlag(cmd, &output)
	return cmd
}

// getter shows resources of one type in one format.
type getter struct {
	out    io.Writer
	output string
	typ    agent.ResourceType
}

func (g getter) list(ctx context.Context, cl *control.Client, query control.ResourceQuery) error {
	list, err := cl.Resources(ctx, query)
	if err != nil {
		return err
	}
	if query.ID != "" && len(list) == 0 {
		return fmt.Errorf("%s %q not found", g.typ.Plural, query.ID)
	}
	switch g.output {
	case outputTable:
		rows := [][]string{g.header()}
		for _, r := range list {
			rows = append(rows, g.row(r))
		}
		return table(g.out, rows)
	case outputJSON:
		return writeData(g.out, g.output, list)
	default:
		return g.documents(list)
	}
}

// documents writes one YAML document per resource.
func (g getter) documents(list []agent.Resource) error {
	for i, r := range list {
		if i > 0 {
			fmt.Fprintln(g.out, "---")
		}
		if err := writeData(g.out, outputYAML, r); err != nil {
			return err
		}
	}
	return nil
}

// event returns a function that shows one event of a watch.
func (g getter) event() func(agent.Event) (bool, error) {
	if g.output == outputTable {
		_ = table(g.out, [][]string{append([]string{"EVENT"}, g.header()...)})
	}
	return func(e agent.Event) (bool, error) {
		if g.output == outputTable {
			return true, table(g.out, [][]string{append([]string{string(e.Type)}, g.row(e.Resource)...)})
		}
		if g.output == outputYAML {
			fmt.Fprintln(g.out, "---")
		}
		return true, writeData(g.out, g.output, e)
	}
}

func (g getter) header() []string {
	out := []string{"ID", "VERSION"}
	for _, col := range columns[g.typ.Plural] {
		out = append(out, col.title)
	}
	return out
}

func (g getter) row(r agent.Resource) []string {
	var spec map[string]json.RawMessage
	_ = json.Unmarshal(r.Spec, &spec) // an unreadable one has empty cells
	out := []string{r.Metadata.ID, strconv.Itoa(r.Metadata.Version)}
	for _, col := range columns[g.typ.Plural] {
		out = append(out, cell(spec[col.key]))
	}
	return out
}

// cell shows a JSON value: text without quotes, lists in brackets.
func cell(v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text
	}
	return string(v)
}

func resourceNames() []string {
	var names []string
	for _, t := range agent.ResourceTypes {
		names = append(names, t.Plural)
	}
	return names
}

func resourceHelp() string {
	var b strings.Builder
	for _, t := range agent.ResourceTypes {
		fmt.Fprintf(&b, "  %-22s (%s)\n", t.Plural, strings.Join(t.Aliases, ", "))
	}
	return b.String()
}

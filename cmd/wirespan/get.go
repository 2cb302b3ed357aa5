package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
)

// column is a table column: its title, the spec's key, and the width that a watch
// gives it before it has seen values.
type column struct {
	title, key string
	width      int
}

// resourceTable says how resources of a type are shown.
type resourceTable struct {
	typ     string // plural
	idWidth int    // that a watch gives ID
	columns []column
}

// resourceTables are for all types. The columns follow ID and VERSION.
var resourceTables = []resourceTable{
	{"kubespanidentities", nameWidth, []column{{"ADDRESS", "address", 43}, {"PUBLICKEY", "publicKey", 44}}},
	{"kubespanpeerspecs", keyWidth, []column{{"LABEL", "label", 16}, {"ENDPOINTS", "endpoints", 0}}},
	{"kubespanpeerstatuses", keyWidth, []column{{"LABEL", "label", 16}, {"ENDPOINT", "endpoint", 21}, {"STATE", "state", 7}, {"RX", "receiveBytes", 12}, {"TX", "transmitBytes", 12}}},
	{"kubespanendpoints", keyWidth, []column{{"ENDPOINT", "endpoint", 21}, {"AFFILIATE ID", "affiliateID", 44}}},
	{"kubespanconfigs", nameWidth, []column{{"ENABLED", "enabled", 7}, {"FORCE ROUTING", "forceRouting", 13}, {"HARVEST", "harvestExtraEndpoints", 7}, {"MTU", "mtu", 5}}},
	{"identities", nameWidth, []column{{"NODE ID", "nodeId", 44}}},
	{"affiliates", keyWidth, []column{{"HOSTNAME", "hostname", 16}, {"MACHINE TYPE", "machineType", 12}, {"SOURCES", "sources", 16}, {"ADDRESSES", "addresses", 0}}},
	{"members", nameWidth, []column{{"HOSTNAME", "hostname", 16}, {"MACHINE TYPE", "machineType", 12}, {"OS", "operatingSystem", 24}, {"ADDRESSES", "addresses", 0}}},
	{"routes", 24, []column{{"PEER", "peer", 16}, {"STATE", "state", 7}, {"PATH", "path", 8}}},
	{"conflicts", 32, []column{{"MESSAGE", "message", 0}}},
	{"rules", 24, []column{{"RULE", "rule", 0}}},
}

// Widths of ID.
const (
	nameWidth = 16
	keyWidth  = 44
)

// tableOf returns how resources of a type are shown; nil: the type is not known.
func tableOf(typ agent.ResourceType) *resourceTable {
	for i := range resourceTables {
		if t := &resourceTables[i]; t.typ == typ.Plural {
			return t
		}
	}
	return nil
}

func (c *cli) get() *cobra.Command {
	var output string
	var watch, secrets bool
	cmd := &cobra.Command{
		Use:   "get RESOURCE [ID]",
		Short: "Show resources of the running agent",
		Long: "Show resources of the running agent: all of a type, or the one with an ID. The\n" +
			"nodename, the public key or an address of a node finds what is about that node.\n" +
			"Resources:\n\n" + resourceHelp(),
		Example: "  wirespan get kubespanpeerstatuses\n" +
			"  wirespan get peerspecs -o yaml\n" +
			"  wirespan get peerstatus node-2\n" +
			"  wirespan get members -w",
		Args: arguments(1, 2),

		ValidArgsFunction: c.offerResources,

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
				return g.watch(ctx, cl, query)
			}
			return g.list(cmd.Context(), cl, query)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on and show every change")
	cmd.Flags().BoolVar(&secrets, "show-secrets", false, "show private keys and the cluster secret")
	c.outputFlag(cmd, &output)
	return c.asks(cmd)
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
		return table{rows: rows, gap: 3}.write(g.out)
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

// watch shows what there is and then every change. A table's columns are as wide
// as what there is at first, and as usual values are: they do not move later.
func (g getter) watch(ctx context.Context, cl *control.Client, query control.ResourceQuery) error {
	header := append([]string{"EVENT"}, g.header()...)
	least := []int{len(agent.EventCreated), tableOf(g.typ).idWidth, len("VERSION")}
	for _, col := range tableOf(g.typ).columns {
		least = append(least, col.width)
	}
	if g.output == outputTable {
		list, err := cl.Resources(ctx, query)
		if err != nil {
			return quietCancel(err)
		}
		rows := [][]string{header}
		for _, r := range list {
			rows = append(rows, append([]string{""}, g.row(r)...))
		}
		least = widths(rows, least...)
		if err := writeRow(g.out, header, least, 3); err != nil {
			return err
		}
	}
	return quietCancel(cl.WatchResources(ctx, query, func(e agent.Event) (bool, error) {
		if g.output == outputTable {
			return true, writeRow(g.out, append([]string{string(e.Type)}, g.row(e.Resource)...), least, 3)
		}
		if g.output == outputYAML {
			fmt.Fprintln(g.out, "---")
		}
		return true, writeData(g.out, g.output, e)
	}))
}

func (g getter) header() []string {
	out := []string{"ID", "VERSION"}
	for _, col := range tableOf(g.typ).columns {
		out = append(out, col.title)
	}
	return out
}

func (g getter) row(r agent.Resource) []string {
	var spec map[string]json.RawMessage
	_ = json.Unmarshal(r.Spec, &spec) // an unreadable one has empty cells
	out := []string{mesh.QuoteName(r.Metadata.ID), strconv.Itoa(r.Metadata.Version)}
	for _, col := range tableOf(g.typ).columns {
		out = append(out, cell(col.key, spec[col.key]))
	}
	return out
}

// cell shows a JSON value: text without quotes, lists in brackets, sources with their age.
func cell(key string, v json.RawMessage) string {
	var sources []agent.SourceView
	if key == "sources" && json.Unmarshal(v, &sources) == nil {
		return sourcesText(sources, time.Now())
	}
	var text string
	if json.Unmarshal(v, &text) == nil {
		return textCell(text)
	}
	return textCell(string(v))
}

func resourceHelp() string {
	var b strings.Builder
	for _, t := range agent.ResourceTypes {
		for i, line := range wrap(strings.Join(t.Aliases, ", "), helpWidth-24) {
			name := t.Plural
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "  %-21s %s\n", name, line)
		}
	}
	return b.String()
}

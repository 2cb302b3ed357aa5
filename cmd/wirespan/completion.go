package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
)

// completionTimeout bounds what a completion asks the agent.
const completionTimeout = time.Second

// offerNoFiles keeps the shell from offering files where none is meant.
func offerNoFiles(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations == nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions) // unless it has one
		}
	})
	for _, sub := range cmd.Commands() {
		offerNoFiles(sub)
	}
}

// completes has a flag of a command completed, unless that has been said already. cobra keeps
// it until the process ends, so an agent that runs the command for a client does without.
func (c *cli) completes(cmd *cobra.Command, flag string, offer cobra.CompletionFunc) {
	if c.agent == "" {
		_ = cmd.RegisterFlagCompletionFunc(flag, offer)
	}
}

// offerFiles completes arguments that are files.
func offerFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// glance asks the agent for a completion; whatever goes wrong offers nothing.
func (c *cli) glance(cmd *cobra.Command, ask func(context.Context, *control.Client) error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	if cl, err := c.client(); err == nil {
		_ = ask(ctx, cl)
	}
}

// offerPeers completes the first argument: a peer's name, or another word.
func (c *cli) offerPeers(words ...string) cobra.CompletionFunc {
	return c.offerNodes(func(s *agent.Status) []string {
		names := slices.Clone(words)
		for _, p := range s.Peers {
			names = append(names, p.Name())
		}
		return names
	})
}

// offerChanged completes a node whose key or address has changed.
func (c *cli) offerChanged() cobra.CompletionFunc {
	return c.offerNodes(func(s *agent.Status) (names []string) {
		for _, cond := range s.Conditions {
			if cond.Type == mesh.ConditionIdentityChanged {
				names = append(names, cond.Subject)
			}
		}
		return names
	})
}

func (c *cli) offerNodes(names func(*agent.Status) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) (found []string, _ cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found = names(new(agent.Status))
		c.glance(cmd, func(ctx context.Context, cl *control.Client) error {
			s, err := cl.Status(ctx)
			if err == nil {
				found = names(s)
			}
			return err
		})
		return plainWords(found), cobra.ShellCompDirectiveNoFileComp
	}
}

// plainWords removes what a shell would not take literally: nodes choose their names, and a
// completion may be inserted as it is.
func plainWords(words []string) []string {
	return slices.DeleteFunc(words, func(s string) bool {
		return !mesh.IsShellWord(strings.NewReplacer("+", "", "/", "", "=", "").Replace(s))
	})
}

// offerResources completes a resource, by all of its names, and then an id.
func (c *cli) offerResources(cmd *cobra.Command, args []string, _ string) (found []string, _ cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		for _, t := range agent.ResourceTypes {
			found = append(found, t.Plural)
			for _, alias := range t.Aliases {
				found = append(found, cobra.CompletionWithDesc(alias, t.Plural))
			}
		}
	case 1:
		typ, err := agent.FindResourceType(args[0])
		if err != nil {
			break
		}
		c.glance(cmd, func(ctx context.Context, cl *control.Client) error {
			list, err := cl.Resources(ctx, control.ResourceQuery{Type: typ})
			for _, r := range list {
				found = append(found, r.Metadata.ID)
			}
			found = plainWords(found)
			return err
		})
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// offerList completes the last item of a list that is separated by commas.
func offerList(names func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, given string) (found []string, _ cobra.ShellCompDirective) {
		before := given[:strings.LastIndexByte(given, ',')+1]
		for _, name := range names() {
			found = append(found, before+name)
		}
		return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

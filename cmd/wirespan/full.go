//go:build !edge

package main

// edgeBuild says whether this is the build without the commands below.
const edgeBuild = false

// fullCommands are those that the edge build leaves out.
func (c *cli) fullCommands() []command {
	return []command{{"discovery", c.discovery}, {"bench", c.bench}, {"demo", c.demo}}
}

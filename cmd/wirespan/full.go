//go:build !edge

package main

// edgeBuild says whether this is the build without the commands below.
const edgeBuild = false

// fullCommands are those that the edge build leaves out.
func (c *cli) fullCommands() []command {
	return []command{
		{"token", c.token},
		{"expel", c.expel},
		{"secret", c.secret},
		{"authority", c.authority},
		{"exec", c.exec},
		{"discovery", c.discovery},
		{"bench", c.bench},
		{"demo", c.demo},
	}
}

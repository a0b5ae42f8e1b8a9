package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

// urfave/cli v2 stops reading flags at the first argument, which would turn
// `abort ID --force` into a graceful abort. So every flag of every command has
// to arrive from behind an argument.
func TestEveryFlagArrivesBehindAnArgument(t *testing.T) {
	paths := commandPaths(newApp(nil, nil, nil).Commands, nil)
	require.Contains(t, paths, []string{"abort"})
	require.Contains(t, paths, []string{"job", "abort"})
	require.Contains(t, paths, []string{"dev"})
	flags := 0
	for _, path := range paths {
		for _, flag := range commandAt(t, newApp(nil, nil, nil), path).Flags {
			for _, name := range flag.Names() {
				dashes := "--"
				if len(name) == 1 {
					dashes = "-"
				}
				t.Run(strings.Join(path, " ")+" "+dashes+name, func(t *testing.T) {
					arrives(t, path, flag.Names()[0], dashes+name)
				})
				flags++
			}
		}
	}
	require.Greater(t, flags, 50)
}

// arrives runs the command with the flag behind an argument, in all the ways
// in which it can be written. What the command would do is left out.
func arrives(t *testing.T, path []string, name, typed string) {
	t.Helper()
	const argument, other = "argument", "other"
	probe := func(tail ...string) (set bool, arguments []string, err error) {
		app := newApp(&bytes.Buffer{}, &bytes.Buffer{}, nil)
		command := commandAt(t, app, path)
		command.Before = nil
		command.Action = func(c *cli.Context) error {
			set, arguments = c.IsSet(name), c.Args().Slice()
			return nil
		}
		line := slices.Concat([]string{"quell"}, path, []string{argument}, tail)
		return set, arguments, app.Run(permute(app, line))
	}
	written := 0
	for _, tail := range [][]string{{typed}, {typed, "7"}, {typed, "5s"}, {typed + "=7"}, {typed + "=5s"}, {typed + "=true"}} {
		// What follows the flag stays an argument, unless it is its value.
		var set bool
		var arguments []string
		var err error
		run := func(tail ...string) bool {
			set, arguments, err = probe(tail...)
			return err == nil && set && slices.Equal(arguments, []string{argument, other})
		}
		if run(append(tail, other)...) && run(append([]string{other}, tail...)...) {
			written++
		}
		_ = err
	}
	require.NotZero(t, written, "it never arrives")
}

// A flag whose value may be left out takes none from what follows it.
func TestFlagWithAnOptionalValue(t *testing.T) {
	app := newApp(&bytes.Buffer{}, &bytes.Buffer{}, nil)
	for line, want := range map[string]string{
		"quell abort A --wait B":            "quell abort --wait A B",
		"quell abort A --wait=5s B":         "quell abort --wait=5s A B",
		"quell --api URL job list --all":    "quell job list --api URL --all",
		"quell job -o json show A":          "quell job show -o json A",
		"quell --api=URL abort A --force":   "quell abort --api=URL --force A",
		"quell job run T --input -":         "quell job run --input - T",
		"quell abort -- --force":            "quell abort -- --force",
		"quell abort A -- --force":          "quell abort -- A --force",
		"quell abort A " + completionFlag:   "quell abort A " + completionFlag,
		"quell job " + completionFlag:       "quell job " + completionFlag,
		"quell --api":                       "quell --api",
		"quell abort A --reason --force -y": "quell abort --reason --force -y A",
	} {
		require.Equal(t, strings.Fields(want), permute(app, strings.Fields(line)), line)
	}
}

// commandPaths lists the commands that do something.
func commandPaths(commands []*cli.Command, above []string) [][]string {
	var paths [][]string
	for _, c := range commands {
		path := append(slices.Clone(above), c.Name)
		if len(c.Subcommands) > 0 {
			paths = append(paths, commandPaths(c.Subcommands, path)...)
			continue
		}
		paths = append(paths, path)
	}
	return paths
}

func commandAt(t *testing.T, app *cli.App, path []string) *cli.Command {
	t.Helper()
	commands := app.Commands
	var found *cli.Command
	for _, name := range path {
		found = find(commands, name)
		require.NotNil(t, found, path)
		commands = found.Subcommands
	}
	return found
}

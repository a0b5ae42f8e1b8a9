package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// permute moves flags in front of the arguments, since urfave/cli v2 stops
// reading flags at the first argument: `abort ID --force` would be a graceful
// abort. What follows "--" stays where it is.
func permute(app *cli.App, args []string) []string {
	if len(args) < 2 {
		return args
	}
	out, rest := args[:1:1], args[1:]
	commands, flags := app.Commands, app.Flags
	for len(rest) > 0 { // down the path of commands
		next := find(commands, rest[0])
		if next == nil {
			break
		}
		out, rest = append(out, rest[0]), rest[1:]
		commands, flags = next.Subcommands, next.Flags
	}
	var arguments []string
	for len(rest) > 0 {
		token := rest[0]
		rest = rest[1:]
		switch {
		case token == "--":
			return append(append(append(out, "--"), arguments...), rest...)
		case len(token) < 2 || token[0] != '-':
			arguments = append(arguments, token)
		default:
			out = append(out, token)
			if takesValue(flags, token) && len(rest) > 0 {
				out, rest = append(out, rest[0]), rest[1:]
			}
		}
	}
	return append(out, arguments...)
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// takesValue says whether the next token belongs to the flag.
func takesValue(flags []cli.Flag, token string) bool {
	if strings.Contains(token, "=") {
		return false
	}
	name := strings.TrimLeft(token, "-")
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				d, ok := f.(cli.DocGenerationFlag)
				return ok && d.TakesValue()
			}
		}
	}
	return false
}

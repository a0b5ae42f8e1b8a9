package main

import (
	"slices"
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
	var last []string
	if n := len(rest) - 1; rest[n] == completionFlag { // urfave looks for it at the end
		rest, last = rest[:n], rest[n:]
	}
	var early []string  // flags in front of the command that they are for
	for len(rest) > 0 { // down the path of commands
		if size := clientFlagSize(rest); size > 0 && len(commands) > 0 {
			early, rest = append(early, rest[:size]...), rest[size:]
			continue
		}
		next := find(commands, rest[0])
		if next == nil {
			break
		}
		out, rest = append(out, rest[0]), rest[1:]
		commands, flags = next.Subcommands, next.Flags
	}
	out = append(out, early...)
	var arguments []string
	for len(rest) > 0 {
		token := rest[0]
		rest = rest[1:]
		switch {
		case token == "--":
			return slices.Concat(out, []string{"--"}, arguments, rest, last)
		case len(token) < 2 || token[0] != '-':
			arguments = append(arguments, token)
		default:
			out = append(out, token)
			if takesValue(flags, token) && len(rest) > 0 {
				out, rest = append(out, rest[0]), rest[1:]
			}
		}
	}
	return slices.Concat(out, arguments, last)
}

const completionFlag = "--generate-bash-completion"

// clientFlagSize says how many tokens the flag takes that rest begins with,
// where it is one of those that every command of the client has.
func clientFlagSize(rest []string) int {
	name, _, joined := strings.Cut(strings.TrimLeft(rest[0], "-"), "=")
	for _, f := range clientFlags() {
		switch {
		case rest[0][:min(1, len(rest[0]))] != "-" || !slices.Contains(f.Names(), name):
		case joined || len(rest) == 1:
			return 1
		default:
			return 2
		}
	}
	return 0
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
				if g, ok := f.(*cli.GenericFlag); ok && mayLack(g.Value) {
					return false
				}
				d, ok := f.(cli.DocGenerationFlag)
				return ok && d.TakesValue()
			}
		}
	}
	return false
}

// mayLack says whether the value may be left out: one that is given is joined
// to its flag by "=", as the flag package has it.
func mayLack(v cli.Generic) bool {
	b, ok := v.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

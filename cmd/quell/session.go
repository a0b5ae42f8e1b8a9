package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// Exit codes of the commands that wait for jobs, beside 0, 1 and 2.
const (
	exitAborted     = 3
	exitLost        = 4
	exitInterrupted = 130 // Ctrl-C, as shells have it
)

// exitError chooses the exit code. Without an error nothing is printed.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// errInterrupted is the cause of what Ctrl-C ends.
var errInterrupted = errors.New("interrupted")

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// session is one run of a command that asks the API.
type session struct {
	c        *cli.Context
	api      *client
	in       io.Reader
	out, err io.Writer
	json     bool
	paint    painter // for out
	now      func() time.Time
}

// args says how many arguments a command takes.
type args struct {
	usage    string // as the help shows them; "" for none
	min, max int    // max 0: any number
}

var noArgs = args{}

// clientFlags are those of every command that asks the API.
func clientFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "api", Value: "http://127.0.0.1:8082", Usage: "`URL` of the API", EnvVars: env("api")},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the output: table, or json for what the API answers"},
	}
}

// clientCommand makes a command that asks the API. Its context ends with the
// first signal.
func clientCommand(signals <-chan os.Signal, name, usage string, a args, flags []cli.Flag, action func(context.Context, *session) error) *cli.Command {
	c := plainCommand(name, usage, a, append(flags, clientFlags()...), func(c *cli.Context) error {
		s, err := newSession(c)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancelCause(c.Context)
		defer cancel(nil)
		go func() {
			select {
			case <-signals:
				cancel(errInterrupted)
			case <-ctx.Done():
			}
		}()
		return action(ctx, s)
	})
	return c
}

// plainCommand makes a command that checks how many arguments it is given.
func plainCommand(name, usage string, a args, flags []cli.Flag, action cli.ActionFunc) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: a.usage, Flags: flags, OnUsageError: wrongUsage, HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := a.check(c); err != nil {
				return err
			}
			return action(c)
		},
	}
}

func (a args) check(c *cli.Context) error {
	given := c.Args().Slice()
	help := "see " + c.Command.HelpName + " --help"
	for _, text := range given {
		if strings.TrimSpace(text) == "" {
			return usagef("an argument is empty (an unset variable?): %s", help)
		}
	}
	switch {
	case a.usage == "" && len(given) > 0:
		return usagef("%s takes no argument %q: %s", c.Command.HelpName, given[0], help)
	case len(given) < a.min:
		return usagef("%s needs %s: %s", c.Command.HelpName, a.usage, help)
	case a.max > 0 && len(given) > a.max:
		return usagef("%s takes %s, and not also %q: %s", c.Command.HelpName, a.usage, given[a.max], help)
	}
	return nil
}

// group makes a command that only has subcommands.
func group(name, usage string, commands ...*cli.Command) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Subcommands: commands, HideHelpCommand: true, OnUsageError: wrongUsage,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("there is no command %q: see quell %s --help", name+" "+c.Args().First(), name)
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

func newSession(c *cli.Context) (*session, error) {
	api, err := newClient(c.String("api"))
	if err != nil {
		return nil, err
	}
	format := c.String("output")
	if format != "table" && format != "json" {
		return nil, usagef("--output %q is neither table nor json", format)
	}
	return &session{
		c: c, api: api, in: c.App.Reader, out: c.App.Writer, err: c.App.ErrWriter,
		json: format == "json", paint: painter(colourful(c.App.Writer)), now: time.Now,
	}, nil
}

// verbatim prints what the API answered.
func (s *session) verbatim(body []byte) error {
	text := strings.TrimRight(string(body), "\n") + "\n"
	_, err := io.WriteString(s.out, text)
	return err
}

// notef tells the user something beside the output.
func (s *session) notef(format string, args ...any) {
	fmt.Fprintf(s.err, "quell: "+format+"\n", args...)
}

// terminal returns the file behind w where that is a terminal that can move
// its cursor.
func terminal(w any) (*os.File, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil, false
	}
	return f, true
}

func colourful(w io.Writer) bool {
	_, ok := terminal(w)
	return ok && os.Getenv("NO_COLOR") == ""
}

// printable replaces what would steer a terminal. Line ends stay.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

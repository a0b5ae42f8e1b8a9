// Command quell runs Ansible jobs on a cluster of nodes and stops any of
// them, at any time. This package only turns flags and signals into options,
// wires the parts together and chooses exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"quell"
)

// version is set by the linker.
var version = "unknown"

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	// Commands end by themselves after the first signal; dev counts them.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	app := newApp(stdout, stderr, signals)
	err := app.RunContext(context.Background(), permute(app, args))
	if err == nil {
		return 0
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, "quell: "+printable(text))
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var exit exitError
	var usage usageError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &usage) || quell.CodeOf(err) == quell.CodeInvalid:
		return exitUsage
	}
	return exitFailure
}

// usageError is a wrong command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func newApp(stdout, stderr io.Writer, signals <-chan os.Signal) *cli.App {
	app := &cli.App{
		Name:                 "quell",
		Usage:                "run multi-playbook Ansible jobs on a cluster, and stop any of them at any time",
		Version:              version,
		Writer:               stdout,
		ErrWriter:            stderr,
		HideHelpCommand:      true,
		EnableBashCompletion: true,
		Commands: append(clientCommands(signals),
			devCommand(signals), apiserverCommand(signals), agentCommand(signals), openapiCommand(), referenceCommand()),
		// Errors are printed once, by run.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   wrongUsage,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("there is no command %q: see quell --help", c.Args().First())}
			}
			return cli.ShowAppHelp(c)
		},
	}
	return app
}

func wrongUsage(c *cli.Context, err error, _ bool) error {
	return usageError{fmt.Errorf("%w: see %s --help", err, c.Command.HelpName)}
}

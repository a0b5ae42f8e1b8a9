package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/urfave/cli/v2/altsrc"
	"go.yaml.in/yaml/v3"

	"quell"
)

// Every flag can also be set by the variable QUELL_<NAME> and by a line of the
// file named by --config; the flag wins over the variable, and this over the
// file.

func env(name string) []string {
	return []string{"QUELL_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}
}

func stringFlag(name, value, usage string) cli.Flag {
	return altsrc.NewStringFlag(&cli.StringFlag{Name: name, Value: value, Usage: usage, EnvVars: env(name)})
}

func listFlag(name, usage string) cli.Flag {
	return altsrc.NewStringSliceFlag(&cli.StringSliceFlag{Name: name, Usage: usage, EnvVars: env(name)})
}

func intFlag(name string, value int, usage string) cli.Flag {
	return altsrc.NewIntFlag(&cli.IntFlag{Name: name, Value: value, Usage: usage, EnvVars: env(name)})
}

func boolFlag(name, usage string) cli.Flag {
	return altsrc.NewBoolFlag(&cli.BoolFlag{Name: name, Usage: usage, EnvVars: env(name)})
}

// command makes a command of a daemon, with what all of them share.
func command(name, usage string, flags []cli.Flag, action func(*cli.Context, *slog.Logger) error) *cli.Command {
	flags = append(flags,
		stringFlag("log-level", "info", "log from this level on: debug, info, warn, error"),
		stringFlag("log-format", "text", "log as text or json"),
		boolFlag("insecure", "allow listeners beyond loopback although they are not encrypted"))
	all := append(slices.Clone(flags), &cli.StringFlag{
		Name: "config", Usage: "read flags from this YAML `FILE`, a line each: name: value", EnvVars: env("config"), TakesFile: true,
	})
	return &cli.Command{
		Name: name, Usage: usage, Flags: all, OnUsageError: wrongUsage, HideHelpCommand: true,
		Before: func(c *cli.Context) error {
			if err := checkConfig(c.String("config"), flags); err != nil {
				return usageError{err}
			}
			if err := altsrc.InitInputSourceWithContext(flags, altsrc.NewYamlSourceFromFlagFunc("config"))(c); err != nil {
				return usageError{fmt.Errorf("--config %s: %w", c.String("config"), err)}
			}
			return nil
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() && c.Command.ArgsUsage == "" {
				return usageError{fmt.Errorf("%s takes no argument %q: see %s --help", name, c.Args().First(), c.Command.HelpName)}
			}
			log, err := newLogger(c.App.ErrWriter, c.String("log-level"), c.String("log-format"))
			if err != nil {
				return usageError{err}
			}
			return action(c, log)
		},
	}
}

// checkConfig refuses names that altsrc would pass over in silence.
func checkConfig(path string, flags []cli.Flag) error {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(data, &values); err != nil {
		return fmt.Errorf("--config %s is not YAML of the form name: value: %w", path, err)
	}
	for name := range values {
		known := slices.ContainsFunc(flags, func(f cli.Flag) bool { return f.Names()[0] == name })
		if !known {
			return fmt.Errorf("--config %s: there is no flag %q", path, name)
		}
	}
	return nil
}

func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is none of debug, info, warn, error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format %q is neither text nor json", format)
}

// checkListen refuses an address that others can reach, unless it was asked for.
func checkListen(flag, address string, insecure bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return quell.Errorf(quell.CodeInvalid, "--%s %q is not HOST:PORT: %w", flag, address, err)
	}
	ip := net.ParseIP(host)
	if insecure || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return quell.Errorf(quell.CodeInvalid, "--%s %s can be reached from elsewhere and is not encrypted: use a loopback address, or say --insecure", flag, address)
}

// listen binds a listener.
func listen(flag, address string, insecure bool) (net.Listener, error) {
	if err := checkListen(flag, address, insecure); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return l, nil
}

func urlOf(l net.Listener) string { return "http://" + l.Addr().String() }

package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
)

func versionCommand() *cli.Command {
	return plainCommand("version", "print the version", noArgs, nil, func(c *cli.Context) error {
		_, err := fmt.Fprintf(c.App.Writer, "quell %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	})
}

package main

import (
	"bytes"
	"fmt"

	"github.com/urfave/cli/v2"

	"quell/internal/template"
)

// templateSchemaCommand is for editors, which complete and check template
// files by it.
func templateSchemaCommand() *cli.Command {
	return plainCommand("schema", "print the JSON Schema of job templates, for editors (needs no API server)",
		noArgs, nil, func(c *cli.Context) error {
			_, err := fmt.Fprintf(c.App.Writer, "%s\n", bytes.TrimRight(template.Schema(), "\n"))
			return err
		})
}

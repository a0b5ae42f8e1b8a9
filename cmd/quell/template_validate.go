package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// templateValidateCommand asks no API: the files are read by what the API
// server reads requests with.
func templateValidateCommand() *cli.Command {
	return plainCommand("validate", "check the job templates of files, and store nothing (needs no API server)",
		args{usage: "FILE…", min: 1}, nil, func(c *cli.Context) error {
			files, err := readTemplates(c.Args().Slice())
			if err != nil {
				return err
			}
			tellSkipped(c.App.ErrWriter, files)
			for _, f := range files {
				for _, t := range f.Templates {
					fmt.Fprintf(c.App.Writer, "%s: %s is valid (%s)\n", f.path, t.FQName, count(len(t.Playbooks), "playbook"))
				}
			}
			return nil
		})
}

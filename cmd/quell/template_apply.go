package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/urfave/cli/v2"
)

func templateApplyCommand(signals <-chan os.Signal) *cli.Command {
	return clientCommand(signals, "apply", "store the job templates of files, new ones and in place of those of the same name",
		args{usage: "FILE…", min: 1}, nil, applyTemplates)
}

func applyTemplates(ctx context.Context, s *session) error {
	files, err := readTemplates(s.c.Args().Slice())
	if err != nil {
		return err
	}
	tellSkipped(s.err, files)
	for _, f := range files {
		for _, t := range f.Templates {
			text, err := json.Marshal(t)
			if err != nil {
				return fmt.Errorf("%s: encode %s: %w", f.path, t.FQName, err)
			}
			a, err := s.askTemplate(ctx, http.MethodPut, t.FQName, text)
			if err != nil {
				return fmt.Errorf("%s: %s was not stored: %w", f.path, t.FQName, err)
			}
			if s.json {
				err = s.verbatim(a.body)
			} else {
				_, err = fmt.Fprintf(s.out, "%s stored\n", t.FQName)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/urfave/cli/v2"

	"quell"
)

func templateDeleteCommand(signals <-chan os.Signal) *cli.Command {
	return clientCommand(signals, "delete", "delete job templates; jobs that were started of them go on",
		args{usage: "TEMPLATE…", min: 1}, nil, deleteTemplates)
}

func deleteTemplates(ctx context.Context, s *session) error {
	var names []quell.FQName
	for _, typed := range s.c.Args().Slice() {
		name, err := s.resolveTemplate(ctx, typed)
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	for _, name := range names {
		a, err := s.askTemplate(ctx, http.MethodDelete, name, nil)
		switch {
		case err != nil:
			return fmt.Errorf("%s was not deleted: %w", name, err)
		case s.json && len(a.body) > 0:
			err = s.verbatim(a.body)
		case !s.json:
			_, err = fmt.Fprintf(s.out, "%s deleted\n", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"context"
	"os"

	"github.com/urfave/cli/v2"
)

func templateListCommand(signals <-chan os.Signal) *cli.Command {
	return clientCommand(signals, "list", "list the job templates", noArgs, nil, listTemplates)
}

func listTemplates(ctx context.Context, s *session) error {
	list, a, err := s.templates(ctx)
	if err != nil {
		return err
	}
	if s.json {
		return s.verbatim(a.body)
	}
	t := newTable(s.paint, "TEMPLATE", "DISPLAY NAME", "JOB TEMPLATE ID")
	for _, entry := range list {
		t.add(entry.FQName.String(), entry.DisplayName, entry.UUID)
	}
	return t.print(s.out)
}

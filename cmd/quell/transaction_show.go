package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
)

func transactionShowCommand(signals <-chan os.Signal) *cli.Command {
	return clientCommand(signals, "show", "tell of a transaction and of its jobs",
		args{usage: "ID", min: 1, max: 1}, nil, showTransaction)
}

func showTransaction(ctx context.Context, s *session) error {
	var x transaction
	a, err := s.api.get(ctx, &x, "v1", "transactions", s.c.Args().First())
	if err != nil {
		return err
	}
	if s.json {
		return s.verbatim(a.body)
	}
	status := statusCell(x.Status)
	err = s.printPairs([][2]string{
		{"Transaction", s.paint.in(bold, printable(x.ID))},
		{"Description", printable(x.Descr)},
		{"Status", s.paint.in(status.colour, status.text)},
		{"Done", percent(x.Percentage)},
		{"Created", clock(&x.CreatedAt)},
		{"Started", clock(x.StartedAt)},
		{"Ended", clock(x.EndedAt)},
		{"Took", took(x.StartedAt, x.EndedAt, s.now())},
	})
	if err != nil {
		return err
	}
	t := newTable(s.paint, jobColumns...)
	for _, j := range x.Jobs {
		s.addJob(t, j)
	}
	fmt.Fprintln(s.out)
	if err := t.print(s.out); err != nil {
		return err
	}
	if len(x.Jobs) < x.JobCount {
		s.notef("there are more: quell job list --all --transaction %s", printable(quote(x.ID)))
	}
	if !x.Final {
		fmt.Fprintf(s.out, "\nTo end what is left of it: quell abort --transaction %s\n", printable(quote(x.ID)))
	}
	return nil
}

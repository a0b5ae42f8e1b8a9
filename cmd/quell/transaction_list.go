package main

import (
	"context"
	"os"
	"slices"

	"github.com/urfave/cli/v2"
)

func transactionListCommand(signals <-chan os.Signal) *cli.Command {
	flags := slices.Concat([]cli.Flag{
		&cli.StringSliceFlag{Name: "status", Usage: "only transactions of this `STATUS`; several separated by commas"},
		&cli.StringFlag{Name: "fabric", Usage: "only transactions with a job of this `FABRIC`"},
		&cli.StringFlag{Name: "transaction", Usage: "only the transaction with this `ID`"},
		&cli.StringFlag{Name: "since", Usage: "only transactions created at this `TIME` or later: 2026-01-31, 2026-01-31 15:04, RFC 3339, or so long ago: 90m, 7d"},
		&cli.StringFlag{Name: "until", Usage: "only transactions created before this `TIME`"},
		&cli.StringFlag{Name: "text", Usage: "only transactions with this `TEXT` in their description or in what the list of jobs says of theirs"},
	}, pageFlags("transactions"))
	return clientCommand(signals, "list", "list transactions, the newest first", noArgs, flags, listTransactions)
}

func listTransactions(ctx context.Context, s *session) error {
	t := newTable(s.paint, "ID", "STATUS", "DONE", "JOBS", "DESCRIPTION", "CREATED", "TOOK")
	return s.pages(ctx, t, []string{"v1", "transactions"}, func(a answer) (string, error) {
		var page transactionList
		err := a.into(&page)
		for _, x := range page.Transactions {
			t.add(x.ID, statusCell(x.Status), percent(x.Percentage), x.JobCount, x.Descr,
				clock(&x.CreatedAt), took(x.StartedAt, x.EndedAt, s.now()))
		}
		return page.NextCursor, err
	})
}

package main

import (
	"context"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"quell"
)

func jobListCommand(signals <-chan os.Signal) *cli.Command {
	flags := slices.Concat(filterFlags("only jobs"), []cli.Flag{
		&cli.StringFlag{Name: "text", Usage: "only jobs with this `TEXT` in what the list says of them"},
	}, pageFlags("jobs"))
	return clientCommand(signals, "list", "list jobs, the newest first", noArgs, flags, listJobs)
}

func listJobs(ctx context.Context, s *session) error {
	t := newTable(s.paint, jobColumns...)
	return s.pages(ctx, t, []string{"v1", "jobs"}, func(a answer) (string, error) {
		var page jobList
		err := a.into(&page)
		for _, j := range page.Jobs {
			s.addJob(t, j)
		}
		return page.NextCursor, err
	})
}

var jobColumns = []string{"ID", "STATUS", "DONE", "TEMPLATE", "NODE", "CREATED", "TOOK"}

func (s *session) addJob(t *table, j job) {
	where := cell{text: j.Node}
	if j.UnreachableSince != nil {
		where = cell{j.Node + " (out of reach)", red}
	}
	t.add(j.ID, statusCell(j.Status), percent(j.Percentage), lastPart(j.Template), where,
		clock(&j.CreatedAt), took(j.StartedAt, j.EndedAt, s.now()))
}

func lastPart(name quell.FQName) string {
	if len(name) == 0 {
		return ""
	}
	return name[len(name)-1]
}

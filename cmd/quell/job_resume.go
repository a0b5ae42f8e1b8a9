package main

import (
	"context"
	"os"

	"github.com/urfave/cli/v2"
)

func jobResumeCommand(signals <-chan os.Signal) *cli.Command {
	return clientCommand(signals, "resume",
		"start a job that goes on where an aborted or failed one ended, with the playbooks and devices that were not done; print its id",
		args{usage: "ID", min: 1, max: 1}, watchFlags(), func(ctx context.Context, s *session) error {
			return again(ctx, s, "resume")
		})
}

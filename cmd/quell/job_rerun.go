package main

import (
	"context"
	"os"

	"github.com/urfave/cli/v2"
)

func jobRerunCommand(signals <-chan os.Signal) *cli.Command {
	return clientCommand(signals, "rerun",
		"start a job that does all of an earlier one again, with the same input; print its id",
		args{usage: "ID", min: 1, max: 1}, watchFlags(), func(ctx context.Context, s *session) error {
			return again(ctx, s, "rerun")
		})
}

package main

import (
	"os"

	"github.com/urfave/cli/v2"
)

func jobCommand(signals <-chan os.Signal) *cli.Command {
	return group("job", "run, watch, abort and resume jobs",
		jobRunCommand(signals), jobListCommand(signals), jobShowCommand(signals),
		jobLogsCommand(signals), jobWaitCommand(signals), jobAbortCommand(signals),
		jobResumeCommand(signals), jobRerunCommand(signals))
}

// clientCommands are the commands that ask the API.
func clientCommands(signals <-chan os.Signal) []*cli.Command {
	// The abort is what one types in haste.
	abort := jobAbortCommand(signals)
	abort.Usage = "abort jobs: short for quell job abort"
	return []*cli.Command{
		jobCommand(signals), abort, transactionCommand(signals), templateCommand(signals), nodeCommand(signals),
		versionCommand(), completionCommand(),
	}
}

package main

import (
	"os"

	"github.com/urfave/cli/v2"
)

func transactionCommand(signals <-chan os.Signal) *cli.Command {
	return group("transaction", "look at transactions, the groups of jobs",
		transactionListCommand(signals), transactionShowCommand(signals))
}

// Quell-shim runs one process tree and stays until all of it is dead. The agent
// starts one for each run; see package internal/process for what it does.
//
// It exits with 0 when the exit record is written, with 75 when the run was
// claimed already, and with 1 or 2 when nothing was claimed.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	"quell/internal/process"
)

// heapGrowth keeps a shim small: there is one for each running playbook, and
// its heap is too small for collections to cost anything.
const heapGrowth = 25

func main() {
	debug.SetGCPercent(heapGrowth)
	parent := flag.Int("parent-fd", 0, "inherited `descriptor` of a socket to the agent")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: quell-shim [--parent-fd N] RUN-FOLDER")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	err := process.RunShim(process.ShimOptions{Dir: flag.Arg(0), ParentFD: *parent})
	if err != nil {
		fmt.Fprintf(os.Stderr, "quell-shim: %s: %v\n", flag.Arg(0), err)
	}
	os.Exit(process.ShimExitCode(err))
}

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func nodeCommand(signals <-chan os.Signal) *cli.Command {
	return group("node", "look at the job-manager nodes", nodeListCommand(signals))
}

func nodeListCommand(signals <-chan os.Signal) *cli.Command {
	return clientCommand(signals, "list", "list the nodes and how many jobs they have", noArgs, nil, listNodes)
}

func listNodes(ctx context.Context, s *session) error {
	var list nodeList
	a, err := s.api.get(ctx, &list, "v1", "nodes")
	if err != nil {
		return err
	}
	if s.json {
		return s.verbatim(a.body)
	}
	t := newTable(s.paint, "NODE", "STATE", "JOBS", "RELEASE", "ADDRESS", "LABELS")
	for _, n := range list.Nodes {
		state := cell{"ready", green}
		if n.Unreachable {
			state = cell{"out of reach", red}
			if n.UnreachableSince != nil {
				state.text += " since " + clock(n.UnreachableSince)
			}
		}
		jobs := fmt.Sprint(n.JobsRunning)
		if n.Capacity > 0 {
			jobs = fmt.Sprintf("%d/%d", n.JobsRunning, n.Capacity)
		}
		var labels []string
		for _, name := range slices.Sorted(maps.Keys(n.Labels)) {
			labels = append(labels, name+"="+n.Labels[name])
		}
		t.add(n.Node, state, jobs, n.Release, n.Address, strings.Join(labels, ","))
	}
	return t.print(s.out)
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"quell"
)

func jobShowCommand(signals <-chan os.Signal) *cli.Command {
	return clientCommand(signals, "show", "tell of a job, and what an abort left",
		args{usage: "ID", min: 1, max: 1}, nil, showJob)
}

func showJob(ctx context.Context, s *session) error {
	j, body, err := s.api.job(ctx, s.c.Args().First())
	if err != nil {
		return err
	}
	if s.json {
		return s.verbatim(body)
	}
	if err := s.printFacts(j); err != nil {
		return err
	}
	for _, list := range []struct {
		heading   string
		playbooks []playbook
	}{{"PLAYBOOK", j.Playbooks}, {"RECOVERY PLAYBOOK", j.Recovery}} {
		if len(list.playbooks) == 0 {
			continue
		}
		fmt.Fprintln(s.out)
		if err := s.runTable(list.heading, list.playbooks).print(s.out); err != nil {
			return err
		}
	}
	if len(j.Devices) > 0 {
		fmt.Fprintln(s.out)
		if err := s.deviceTable(j.Devices).print(s.out); err != nil {
			return err
		}
	}
	for _, section := range tell(j) {
		fmt.Fprintf(s.out, "\n%s\n", s.paint.in(bold, section.heading))
		for _, line := range section.lines {
			fmt.Fprintf(s.out, "  %s\n", strings.ReplaceAll(printable(line), "\n", "\n  "))
		}
	}
	return nil
}

// printFacts prints what is known of any job.
func (s *session) printFacts(j job) error {
	name := j.Template.String()
	if j.DisplayName != "" {
		name = j.DisplayName + " (" + name + ")"
	}
	status := statusCell(j.Status)
	text := s.paint.in(status.colour, status.text)
	if j.Reason != "" {
		text += ": " + printable(j.Reason)
	}
	where := printable(j.Node)
	if j.UnreachableSince != nil {
		where += s.paint.in(red, " (out of reach since "+clock(j.UnreachableSince)+")")
	}
	done := percent(j.Percentage)
	if len(j.CurrentTasks) > 0 {
		done += ", at " + printable(strings.Join(j.CurrentTasks, "; "))
	}
	var out strings.Builder
	for _, fact := range [][2]string{
		{"Job", s.paint.in(bold, printable(j.ID))},
		{"Template", printable(name)},
		{"Status", text},
		{"Done", done},
		{"Node", where},
		{"Requester", printable(j.Requester)},
		{"Created", clock(&j.CreatedAt)},
		{"Started", clock(j.StartedAt)},
		{"Ended", clock(j.EndedAt)},
		{"Took", took(j.StartedAt, j.EndedAt, s.now())},
		{"Input", strings.ReplaceAll(indentShort(j.Input), "\n", " ")},
	} {
		if fact[1] != "" {
			fmt.Fprintf(&out, "%-11s%s\n", fact[0]+":", fact[1])
		}
	}
	_, err := io.WriteString(s.out, out.String())
	return err
}

// indentShort shows an input, the begin of a long one.
func indentShort(raw []byte) string {
	text := []rune(printable(string(raw)))
	if len(text) > 200 {
		return string(text[:200]) + "… (--output json has all of it)"
	}
	return string(text)
}

func (s *session) runTable(heading string, playbooks []playbook) *table {
	table := newTable(s.paint, "#", heading, "STATUS", "TOOK", "DETAILS")
	for i, p := range playbooks {
		var details []string
		switch {
		case p.Signal != "":
			details = append(details, "signal "+p.Signal)
		case p.ExitCode != nil && *p.ExitCode != 0:
			details = append(details, fmt.Sprintf("exit code %d", *p.ExitCode))
		}
		if p.Error != "" {
			details = append(details, p.Error)
		}
		if n := max(p.LeftoverCount, len(p.Leftovers)); n > 0 {
			details = append(details, count(n, "leftover")+" killed")
		}
		table.add(i+1, p.URI, statusCell(p.Status), took(p.StartedAt, p.EndedAt, s.now()), strings.Join(details, "; "))
	}
	return table
}

func (s *session) deviceTable(devices []device) *table {
	table := newTable(s.paint, "DEVICE", "STATUS", "CHANGED", "ERROR")
	for _, d := range devices {
		changed := "no"
		if d.Changed {
			changed = "yes"
		}
		table.add(d.ID, statusCell(d.Status), changed, d.Error)
	}
	return table
}

// uris names the playbooks of a status, with their numbers.
func uris(playbooks []playbook, statuses ...quell.PlaybookStatus) string {
	var list []string
	for i, p := range playbooks {
		if slices.Contains(statuses, p.Status) {
			list = append(list, fmt.Sprintf("%s (%d of %d)", p.URI, i+1, len(playbooks)))
		}
	}
	return strings.Join(list, ", ")
}

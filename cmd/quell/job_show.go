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
		if err := s.runTable(list.heading, list.playbooks, len(j.Devices)).print(s.out); err != nil {
			return err
		}
	}
	if err := s.printDevices(j.Devices); err != nil {
		return err
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
	facts := [][2]string{
		{"Job", s.paint.in(bold, printable(j.ID))},
		{"Template", printable(templateFact(j))},
		{"Status", text},
		{"Done", done},
		{"Node", where},
		{"Fabric", printable(j.Fabric)},
		{"Locks", printable(locksFact(j))},
		{"Requester", printable(j.Requester)},
		{"Transaction", printable(transactionFact(j))},
		{"Resumed from", printable(j.ResumedFrom)},
		{"Resumed as", printable(j.ResumedAs)},
		{"Rerun of", printable(j.RerunOf)},
		{"Created", clock(&j.CreatedAt)},
		{"Started", clock(j.StartedAt)},
		{"Ended", clock(j.EndedAt)},
		{"Took", took(j.StartedAt, j.EndedAt, s.now())},
		{"Input", shortJSON(j.Input)},
		{"Output", shortJSON(j.Output)},
	}
	for _, w := range j.Warnings {
		facts = append(facts, [2]string{"Warning", s.paint.in(yellow, printable(w))})
	}
	return s.printPairs(facts)
}

// printPairs prints names and values, but for those that have none.
func (s *session) printPairs(pairs [][2]string) error {
	width := 0
	for _, p := range pairs {
		if p[1] != "" {
			width = max(width, len(p[0]))
		}
	}
	var out strings.Builder
	for _, p := range pairs {
		if p[1] != "" {
			fmt.Fprintf(&out, "%-*s %s\n", width+1, p[0]+":", strings.ReplaceAll(p[1], "\n", " "))
		}
	}
	_, err := io.WriteString(s.out, out.String())
	return err
}

func templateFact(j job) string {
	text := j.Template.String()
	if j.DisplayName != "" {
		text = j.DisplayName + " (" + text + ")"
	}
	if j.TemplateRevision > 0 {
		text += fmt.Sprintf(", revision %d", j.TemplateRevision)
	}
	return text
}

// locksFact says what the job has for itself alone. A job that is final holds
// no lock.
func locksFact(j job) string {
	if j.Locks == nil || j.Status.Final() {
		return ""
	}
	text := "fabric " + j.Locks.Fabric
	if j.Locks.Level == quell.ConcurrencyDevice {
		text = "its devices, in fabric " + j.Locks.Fabric
	}
	if j.Status == quell.StatusQueued {
		return "wants " + text
	}
	return "holds " + text
}

// transactionFact says in which transaction the job is, where it is not just
// its own.
func transactionFact(j job) string {
	switch {
	case j.TransactionDescr == "" && (j.Transaction == "" || j.Transaction == j.ID):
		return ""
	case j.TransactionDescr == "":
		return j.Transaction
	case j.Transaction == "" || j.Transaction == j.ID:
		return j.TransactionDescr
	}
	return j.Transaction + " (" + j.TransactionDescr + ")"
}

// shortJSON shows an input or an output, the begin of a long one.
func shortJSON(raw []byte) string {
	switch text := []rune(printable(string(raw))); {
	case string(raw) == "null":
		return ""
	case len(text) > 200:
		return string(text[:200]) + "… (--output json has all of it)"
	default:
		return string(text)
	}
}

func (s *session) runTable(heading string, playbooks []playbook, devices int) *table {
	table := newTable(s.paint, "#", heading, "STATUS", "TOOK", "DETAILS")
	for i, p := range playbooks {
		table.add(i+1, p.URI, statusCell(p.Status), took(p.StartedAt, p.EndedAt, s.now()), strings.Join(runDetails(p, devices), "; "))
	}
	return table
}

// runDetails says what there is to say of a playbook of a job that has so
// many devices.
func runDetails(p playbook, devices int) []string {
	var details []string
	add := func(is bool, format string, args ...any) {
		if is {
			details = append(details, fmt.Sprintf(format, args...))
		}
	}
	add(p.From != "", "ended in job %s", p.From)
	add(p.Try > 0, "try %d", p.Try+1)
	if p.MultiDevice && (p.StartedAt != nil || p.Total != nil) {
		total := max(devices, p.Succeeded+p.Failed)
		if p.Total != nil {
			total = *p.Total
		}
		text := fmt.Sprintf("%d of %s", p.Succeeded, count(total, "device"))
		if p.Failed > 0 {
			text += fmt.Sprintf(", %d failed", p.Failed)
		}
		add(true, "%s", text)
	}
	switch {
	case p.Signal != "":
		add(true, "signal %s", p.Signal)
	case p.ExitCode != nil && *p.ExitCode != 0:
		add(true, "exit code %d", *p.ExitCode)
	}
	add(p.Error != "", "%s", p.Error)
	add(p.Unabortable && p.Status == quell.PlaybookRunning, "must not be interrupted")
	n := max(p.LeftoverCount, len(p.Leftovers))
	add(n > 0, "%s killed", count(n, "leftover"))
	return details
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

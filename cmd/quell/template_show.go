package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"quell"
)

func templateShowCommand(signals <-chan os.Signal) *cli.Command {
	return clientCommand(signals, "show", "show a job template", args{usage: "TEMPLATE", min: 1, max: 1}, nil, showTemplate)
}

func showTemplate(ctx context.Context, s *session) error {
	name, err := s.resolveTemplate(ctx, s.c.Args().First())
	if err != nil {
		return err
	}
	a, err := s.askTemplate(ctx, http.MethodGet, name, nil)
	if err != nil {
		return err
	}
	if s.json {
		return s.verbatim(a.body)
	}
	var t quell.Template
	if err := a.into(&t); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s\n", s.paint.in(bold, printable(t.FQName.String())))
	if t.DisplayName != "" {
		fmt.Fprintf(s.out, "%s\n", printable(t.DisplayName))
	}
	if err := s.printPairs(templateFacts(t)); err != nil {
		return err
	}
	for _, list := range []struct {
		heading   string
		playbooks []quell.Playbook
	}{{"PLAYBOOK", t.Playbooks}, {"RECOVERY PLAYBOOK", t.RecoveryPlaybooks}} {
		if len(list.playbooks) == 0 {
			continue
		}
		fmt.Fprintln(s.out)
		if err := s.playbookTable(list.heading, list.playbooks).print(s.out); err != nil {
			return err
		}
	}
	if len(t.InputSchema) > 0 {
		fmt.Fprintf(s.out, "\nIts input has to fit this JSON Schema:\n%s\n", indent(t.InputSchema))
	}
	if len(t.OutputSchema) > 0 {
		fmt.Fprintf(s.out, "\nIts output should fit this JSON Schema (else the job is a WARNING):\n%s\n", indent(t.OutputSchema))
	}
	return nil
}

// templateFacts are what there is to tell of a template beside its playbooks.
func templateFacts(t quell.Template) [][2]string {
	limit := func(d quell.Duration) string {
		if d <= 0 {
			return ""
		}
		return span(time.Duration(d))
	}
	one, answers := "", ""
	switch t.Concurrency {
	case quell.ConcurrencyDevice:
		one = "one job at a time for each of its devices"
	case quell.ConcurrencyFabric:
		one = "one job at a time for its fabric"
	}
	if t.Synchronous {
		answers = "at the job's end"
	}
	var never []string
	for _, c := range []struct {
		runs *bool
		end  string
	}{{t.Recovery.OnFailure, "a failure"}, {t.Recovery.OnForce, "a force abort"}, {t.Recovery.OnGraceful, "a graceful abort"}} {
		if c.runs != nil && !*c.runs {
			never = append(never, c.end)
		}
	}
	recovery := ""
	if len(never) > 0 {
		recovery = "not after " + strings.Join(never, ", ")
	}
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(t.NodeLabels)) {
		labels = append(labels, name+"="+t.NodeLabels[name])
	}
	return [][2]string{
		{"Description", printable(t.Description)},
		{"Id", printable(t.UUID)},
		{"Concurrency", one},
		{"Answers", answers},
		{"Node labels", printable(strings.Join(labels, ","))},
		{"Time limit", limit(t.Timeout)},
		{"Queue limit", limit(t.QueueTimeout)},
		{"Recovery", recovery},
	}
}

func (s *session) playbookTable(heading string, playbooks []quell.Playbook) *table {
	table := newTable(s.paint, "#", heading, "RUNS", "SHARE", "TIME LIMIT", "FORCE ABORT")
	for i, p := range playbooks {
		runs, share, limit, abort := "once", "equal", "the agent's", "kills it"
		if p.MultiDevice {
			runs = "on each device"
		}
		if p.Weight != nil {
			share = percent(*p.Weight)
		}
		if p.Timeout > 0 {
			limit = span(time.Duration(p.Timeout))
		}
		if !p.MayKill() {
			abort = "waits for its end, unless --override"
		}
		table.add(i+1, p.Name(), runs, share, limit, abort)
	}
	return table
}

// indent shows a JSON document with its properties in their order.
func indent(raw json.RawMessage) string {
	var out bytes.Buffer
	if json.Indent(&out, raw, "", "  ") != nil {
		return printable(string(raw))
	}
	return printable(out.String())
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"quell"
)

func jobRunCommand(signals <-chan os.Signal) *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "input", Usage: "the job's `INPUT`: a JSON object, @FILE, or - for standard input"},
		&cli.GenericFlag{Name: "set", Value: &texts{}, Usage: "set one property of the input: `KEY=VALUE`, the value JSON or else a string; may be repeated"},
		&cli.GenericFlag{Name: "device", Value: &texts{}, Usage: "run on this `DEVICE`; may be repeated"},
		&cli.BoolFlag{Name: "wait", Usage: "wait for the job's end; the exit code is that of quell job wait"},
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "like --wait, and show the log as it comes"},
	}
	return clientCommand(signals, "run", "start a job of a template, and print its id",
		args{usage: "TEMPLATE", min: 1, max: 1}, flags, runJob)
}

func runJob(ctx context.Context, s *session) error {
	follow, wait := s.c.Bool("follow"), s.c.Bool("wait")
	if follow && s.json {
		return usagef("--follow shows the log, and --output json a document: give one of them")
	}
	input, err := readInput(s.c.String("input"), textsOf(s.c, "set"), s.in)
	if err != nil {
		return err
	}
	name, err := s.resolveTemplate(ctx, s.c.Args().First())
	if err != nil {
		return err
	}
	id, a, err := s.execute(ctx, name, input, textsOf(s.c, "device"))
	if err != nil {
		return err
	}
	switch {
	case !s.json:
		fmt.Fprintln(s.out, id)
	case !wait:
		return s.verbatim(a.body)
	}
	var ended end
	switch {
	case follow:
		ended, err = s.follow(ctx, id)
	case wait:
		ended, err = s.waitFor(ctx, id)
	default:
		return nil
	}
	if err != nil {
		return s.leftRunning(err, id)
	}
	if s.json {
		if err := s.verbatim(ended.body); err != nil {
			return err
		}
	} else {
		s.notef("%s", outcomeLine(ended.job))
	}
	return exitOf(ended.job.Status)
}

// execute starts the job.
func (s *session) execute(ctx context.Context, name quell.FQName, input json.RawMessage, devices []string) (string, answer, error) {
	type params struct {
		Devices []string `json:"device_list"`
	}
	body := struct {
		Template quell.FQName    `json:"job_template_fq_name"`
		Input    json.RawMessage `json:"input"`
		Params   *params         `json:"params,omitempty"`
	}{Template: name, Input: input}
	if len(devices) > 0 {
		body.Params = &params{devices}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return "", answer{}, fmt.Errorf("encode the request: %w", err)
	}
	a, err := s.api.ask(ctx, request{method: http.MethodPost, path: []string{"execute-job"}, body: text})
	if err != nil {
		var reach *reachError
		if errors.Is(err, errInterrupted) || errors.As(err, &reach) && reach.maybe {
			err = fmt.Errorf("%w; the job may have been started all the same: quell job list tells", err)
		}
		return "", a, err
	}
	var started struct {
		ID string `json:"job_execution_id"`
	}
	if err := a.into(&started); err != nil {
		return "", a, err
	}
	return started.ID, a, nil
}

// readInput makes the job's input of --input and --set.
func readInput(given string, set []string, stdin io.Reader) (json.RawMessage, error) {
	text, from := []byte(given), "--input"
	var err error
	switch {
	case given == "":
		text = []byte("{}")
	case given == "-":
		from = "--input - (standard input)"
		text, err = io.ReadAll(stdin)
	case strings.HasPrefix(given, "@"):
		from = "--input " + given
		text, err = os.ReadFile(given[1:])
	}
	if err != nil {
		return nil, usagef("%s: %w", from, err)
	}
	members, err := quell.ParseObject(text)
	if err != nil {
		return nil, usagef("%s is not a JSON object such as {\"name\": \"value\"}: %w", from, err)
	}
	if len(set) == 0 {
		return text, nil
	}
	merged := map[string]json.RawMessage{}
	for _, m := range members {
		merged[m.Name] = m.Value
	}
	for _, pair := range set {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("--set %q is not KEY=VALUE", pair)
		}
		merged[key] = json.RawMessage(value)
		if !json.Valid([]byte(value)) {
			if merged[key], err = json.Marshal(value); err != nil {
				return nil, usagef("--set %q: %w", pair, err)
			}
		}
	}
	return json.Marshal(merged)
}

// texts is the value of a flag that may be repeated. Unlike urfave's, it does
// not split at commas.
type texts []string

func (t *texts) Set(value string) error { *t = append(*t, value); return nil }
func (t *texts) String() string         { return strings.Join(*t, ", ") }

func textsOf(c *cli.Context, name string) []string {
	if t, ok := c.Generic(name).(*texts); ok {
		return *t
	}
	return nil
}

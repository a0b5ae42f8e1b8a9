package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"quell"
)

func jobRunCommand(signals <-chan os.Signal) *cli.Command {
	flags := slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "input", Usage: "the job's `INPUT`: a JSON object, @FILE, or - for standard input"},
		&cli.GenericFlag{Name: "set", Value: &texts{}, Usage: "set one property of the input: `KEY=VALUE`, the value JSON or else a string; may be repeated"},
		&cli.GenericFlag{Name: "device", Value: &texts{}, Usage: "run on this `DEVICE`; may be repeated"},
		&cli.StringFlag{Name: "transaction", Usage: "put the job into the transaction with this `ID`, instead of one of its own"},
		&cli.StringFlag{Name: "transaction-descr", Usage: "describe the transaction by this `TEXT`"},
		&cli.StringFlag{Name: "on-lock", Usage: "where another job has the fabric or a device: wait, or fail", DefaultText: "wait"},
		&cli.StringFlag{Name: "timeout", Usage: "end the job as failed when its playbooks have taken this `TIME` (2h), whatever its template says"},
		&cli.StringFlag{Name: "playbook-timeout", Usage: "the same for each playbook"},
		&cli.StringFlag{Name: "queue-timeout", Usage: "the same for the time that it is QUEUED"},
	}, watchFlags())
	return clientCommand(signals, "run", "start a job of a template, and print its id",
		args{usage: "TEMPLATE", min: 1, max: 1}, flags, runJob)
}

func runJob(ctx context.Context, s *session) error {
	if err := checkWatch(s); err != nil {
		return err
	}
	query, err := runQuery(s.c)
	if err != nil {
		return err
	}
	body, err := s.runBody()
	if err != nil {
		return err
	}
	if body.Template, err = s.resolveTemplate(ctx, s.c.Args().First()); err != nil {
		return err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	return s.startAndWatch(ctx, request{
		method: http.MethodPost, path: []string{"execute-job"}, query: query, body: text, extra: s.answersAfter(ctx, body.Template),
	})
}

// runQuery makes the API's parameters of the flags.
func runQuery(c *cli.Context) (url.Values, error) {
	query := url.Values{}
	if c.IsSet("on-lock") {
		how := quell.OnLock(c.String("on-lock"))
		if how != quell.OnLockWait && how != quell.OnLockFail {
			return nil, usagef("--on-lock %q is neither wait nor fail", how)
		}
		query.Set("on_lock", string(how))
	}
	for _, name := range []string{"timeout", "playbook-timeout", "queue-timeout"} {
		if !c.IsSet(name) {
			continue
		}
		if d, err := time.ParseDuration(c.String(name)); err != nil || d <= 0 {
			return nil, usagef("--%s %q is no time above zero such as 30m or 2h", name, c.String(name))
		}
		query.Set(strings.ReplaceAll(name, "-", "_"), c.String(name))
	}
	return query, nil
}

// runRequest is the body of a request for a job.
type runRequest struct {
	Template quell.FQName    `json:"job_template_fq_name"`
	Input    json.RawMessage `json:"input"`
	Params   quell.Params    `json:"params,omitzero"`
}

// runBody makes the request of the flags, but for the template.
func (s *session) runBody() (runRequest, error) {
	input, err := readInput(s.c.String("input"), textsOf(s.c, "set"), s.in)
	if err != nil {
		return runRequest{}, err
	}
	group := url.Values{}
	for _, name := range []string{"transaction", "transaction-descr"} {
		if err := copyText(s.c, group, name); err != nil {
			return runRequest{}, err
		}
	}
	return runRequest{Input: input, Params: quell.Params{
		DeviceList:    append([]string(nil), textsOf(s.c, "device")...), // none is nil
		TransactionID: group.Get("transaction"), TransactionDescr: group.Get("transaction-descr"),
	}}, nil
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

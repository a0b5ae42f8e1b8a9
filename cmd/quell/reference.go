package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"quell"
	"quell/apiserver"
	"quell/metrics"
	"quell/store"
)

// referenceCommand prints docs/reference.md, which is made from the code, so
// that it cannot say anything else than the code does.
func referenceCommand() *cli.Command {
	return &cli.Command{
		Name: "reference", Usage: "print docs/reference.md", Hidden: true, OnUsageError: wrongUsage,
		Action: func(c *cli.Context) error {
			text, err := reference(c.App)
			if err != nil {
				return err
			}
			_, err = io.WriteString(c.App.Writer, text)
			return err
		},
	}
}

// page is the reference while it is written.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *page) table(head ...string) {
	p.line("")
	p.row(head...)
	p.line("|%s", strings.Repeat(" --- |", len(head)))
}

func (p *page) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.ReplaceAll(strings.ReplaceAll(cell, "|", `\|`), "\n", " ")
	}
	p.line("| %s |", strings.Join(cells, " | "))
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

func reference(app *cli.App) (string, error) {
	p := &page{}
	p.line("# Reference\n\nMade by `make reference` from the code; a test keeps it true.")
	p.line("\n## Commands and flags\n")
	p.line("A flag with a variable can also stand in the file named by `--config`, where the command has one; the flag wins over the")
	p.line("variable, and this over the file. Flags work before and after arguments.")
	for _, c := range app.Commands {
		p.command("quell", c)
	}
	if err := p.http(); err != nil {
		return "", err
	}
	p.line("\n## Keys in etcd\n\n`--etcd-prefix` goes in front; parts made from names are percent-encoded.")
	p.table("key", "value", "written by", "lives")
	for _, k := range store.Reference() {
		p.row(code(k.Key), k.Value, k.Writer, k.Lives)
	}
	p.statuses()
	p.metrics()
	return p.String(), nil
}

func (p *page) command(path string, c *cli.Command) {
	if c.Hidden {
		return
	}
	path += " " + c.Name
	p.line("\n### %s\n\n%s", strings.TrimSpace(path+" "+c.ArgsUsage), upperFirst(c.Usage)+".")
	first := true
	for _, f := range c.Flags {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok || f.Names()[0] == "help" {
			continue
		}
		if first {
			p.table("flag", "variable", "default", "meaning")
			first = false
		}
		value := ""
		if d.TakesValue() {
			value = d.GetDefaultText()
			if value != "" && machine[f.Names()[0]] {
				value = "depends on the machine"
			}
		}
		p.row(code("--"+strings.Join(f.Names(), ", -")), code(strings.Join(d.GetEnvVars(), ", ")), value, strings.ReplaceAll(d.GetUsage(), "`", ""))
	}
	for _, sub := range c.Subcommands {
		p.command(path, sub)
	}
}

// machine are the flags whose default is not the same everywhere.
var machine = map[string]bool{"node": true, "max-jobs": true}

func upperFirst(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// http lists the routes; the OpenAPI document has their details.
func (p *page) http() error {
	text, err := apiserver.OpenAPI()
	if err != nil {
		return err
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Summary    string
			Parameters []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("read the OpenAPI document: %w", err)
	}
	p.line("\n## HTTP\n\n`/openapi.json` has every detail. Errors are problem documents (RFC 9457) with a `code`. Beside these: `/` (discovery),")
	p.line("`/ui/` (the page), `/healthz`, `/readyz`, `/metrics`, `/openapi.json`.")
	p.table("request", "parameters", "meaning")
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(doc.Paths[path])) {
			operation := doc.Paths[path][method]
			var query []string
			for _, parameter := range operation.Parameters {
				if parameter.In == "query" {
					query = append(query, parameter.Name)
				}
			}
			p.row(code(strings.ToUpper(method)+" "+path), strings.Join(query, ", "), operation.Summary)
		}
	}
	return nil
}

// meanings says what each status tells an operator.
var meanings = map[quell.Status]string{
	quell.StatusQueued:     "waits for a node or for locks; its reason says for what",
	quell.StatusStarting:   "has a node, nothing has begun there",
	quell.StatusInProgress: "its playbooks run",
	quell.StatusAborting:   "an abort was seen, a run has not ended yet",
	quell.StatusRecovering: "its recovery playbooks run",
	quell.StatusSuccess:    "final: all playbooks ended well",
	quell.StatusWarning:    "final: ended well, with something to look at",
	quell.StatusFailure:    "final: a playbook failed, or the job struck a time limit or could not begin",
	quell.StatusAborted:    "final: an abort ended it",
	quell.StatusLost:       "final: an operator declared its node gone",
}

func (p *page) statuses() {
	p.line("\n## Statuses")
	p.table("job", "meaning")
	for _, s := range quell.Statuses {
		p.row(code(string(s)), meanings[s])
	}
	p.table("playbook", "meaning")
	for _, s := range []struct {
		status  quell.PlaybookStatus
		meaning string
	}{
		{quell.PlaybookPending, "has not started"},
		{quell.PlaybookRunning, "its process has been started"},
		{quell.PlaybookSuccess, "ended well, on one of its devices at least"},
		{quell.PlaybookFailure, "ended badly (on all of its devices), could not start, or struck a time limit"},
		{quell.PlaybookInterrupted, "was cut short by an abort or the job's time limit, on one of its devices at least"},
		{quell.PlaybookSkipped, "never started, and never will"},
	} {
		p.row(code(string(s.status)), s.meaning)
	}
}

// described reads what a metric's description says of itself; the library
// offers no other way.
var described = regexp.MustCompile(`fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)".*variableLabels: \{([^}]*)\}`)

// metrics lists what an API server and an agent have together.
func (p *page) metrics() {
	p.line("\n## Metrics\n\nBeside these, `/metrics` has those of the Go runtime and of the process (`go_…`, `process_…`).")
	p.table("metric", "labels", "meaning")
	all := &recorder{}
	metrics.NewAPI(all)
	metrics.NewAgent(all)
	metrics.NewScheduler(all)
	metrics.NewEtcd(all, func() int { return 0 })
	rows := map[string][]string{}
	for _, c := range all.collectors {
		descs := make(chan *prometheus.Desc, 32)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			if m := described.FindStringSubmatch(d.String()); m != nil {
				rows[m[1]] = []string{code(m[1]), strings.ReplaceAll(m[3], ",", ", "), strings.ReplaceAll(m[2], `\"`, `"`)}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		p.row(rows[name]...)
	}
}

// recorder is a Registerer that keeps what is registered.
type recorder struct{ collectors []prometheus.Collector }

func (r *recorder) Register(c prometheus.Collector) error {
	r.collectors = append(r.collectors, c)
	return nil
}

func (r *recorder) MustRegister(list ...prometheus.Collector) {
	r.collectors = append(r.collectors, list...)
}

func (r *recorder) Unregister(prometheus.Collector) bool { return false }

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"quell"
	"quell/internal/template"
	"quell/metrics"
	"quell/store"
	"quell/store/embedded"
)

func devCommand(signals <-chan os.Signal) *cli.Command {
	flags := append(append(apiFlags(), agentFlags()...), readyFlag(),
		stringFlag("etcd-listen", "127.0.0.1:2379", "`ADDRESS` of the embedded etcd; port 0 picks one"),
		stringFlag("data-dir", "quell-data", "`FOLDER` for etcd's data, logs and state"),
		listFlag("templates", "job template `FILE`s to load; further ones may follow as arguments"))
	c := command("dev", "run all of Quell in one process, with an etcd of its own", flags, func(c *cli.Context, log *slog.Logger) error {
		d := &dev{c: c, l: newLifecycle(log), out: c.App.Writer, signals: signals}
		defer d.l.stop()
		return d.run()
	})
	c.ArgsUsage = "[TEMPLATE FILE…]"
	return c
}

// dev is all of Quell in one process.
type dev struct {
	c       *cli.Context
	l       *lifecycle
	out     io.Writer
	signals <-chan os.Signal
	store   *store.Store
}

func (d *dev) run() error {
	var templates []quell.Template
	for _, path := range append(d.c.StringSlice("templates"), d.c.Args().Slice()...) {
		file, err := template.ReadFile(path)
		if err != nil {
			return err
		}
		for _, line := range file.Skipped {
			fmt.Fprintln(d.out, line)
		}
		templates = append(templates, file.Templates...)
	}
	r, err := d.start(templates)
	if err != nil {
		if errors.Is(err, errStopped) {
			return nil
		}
		return err
	}
	if err := d.l.writeReady(d.c.String("print-ready"), r); err != nil {
		return err
	}
	d.tell(r, templates)
	select {
	case <-d.signals:
	case err := <-d.l.failed:
		return err
	}
	return d.abortRest()
}

// start starts every part, in the order in which they need each other.
func (d *dev) start(templates []quell.Template) (ready, error) {
	c, l := d.c, d.l
	insecure, dataDir := c.Bool("insecure"), c.String("data-dir")
	dataDir, err := filepath.Abs(dataDir)
	if err != nil {
		return ready{}, fmt.Errorf("--data-dir: %w", err)
	}
	if err := checkListen("etcd-listen", c.String("etcd-listen"), insecure); err != nil {
		return ready{}, err
	}
	api, err := listen("listen", c.String("listen"), insecure)
	if err != nil {
		return ready{}, err
	}
	l.later("api's listener", func(context.Context) error { _ = api.Close(); return nil })
	logs, err := listen("listen", "127.0.0.1:0", false)
	if err != nil {
		return ready{}, err
	}
	l.later("agent's listener", func(context.Context) error { _ = logs.Close(); return nil })
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return ready{}, fmt.Errorf("--data-dir: %w", err)
	}
	starting, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	etcd, err := embedded.Start(starting, embedded.Options{Dir: filepath.Join(dataDir, "etcd"), Listen: c.String("etcd-listen")})
	if err != nil {
		return ready{}, err
	}
	l.later("etcd", func(context.Context) error { etcd.Stop(); return nil })
	reg := metrics.NewRegistry(version)
	if d.store, err = openStore(l, reg, []string{etcd.Endpoint()}, ""); err != nil {
		return ready{}, err
	}
	for _, t := range templates {
		if _, err := d.store.PutTemplate(starting, t); err != nil {
			return ready{}, fmt.Errorf("load job template %s: %w", t.FQName, err)
		}
	}
	a, err := startAgent(c, l, d.store, filepath.Join(dataDir, "agent"), logs, urlOf(logs), reg)
	if err != nil {
		return ready{}, err
	}
	server, err := startAPI(c, l, d.store, api, reg, "dev at "+dataDir)
	if err != nil {
		return ready{}, err
	}
	r := ready{API: urlOf(api), Etcd: etcd.Endpoint(), Node: c.String("node")}
	return r, l.until(d.signals, "all parts", func(ctx context.Context) error {
		return errors.Join(a.Ready(ctx), server.Ready(ctx))
	})
}

// tell prints what to try next.
func (d *dev) tell(r ready, templates []quell.Template) {
	fmt.Fprintf(d.out, "\nQuell serves at %s (the page: %s/ui/); its etcd is at %s.\n", r.API, r.API, r.Etcd)
	if len(templates) == 0 {
		return
	}
	longest, list := templates[0], ""
	for _, t := range templates {
		if len(t.Playbooks) > len(longest.Playbooks) {
			longest = t
		}
		list += fmt.Sprintf("  %-24s %s\n", t.FQName[len(t.FQName)-1], t.DisplayName)
	}
	name, err := json.Marshal(longest.FQName)
	if err != nil {
		return // names are strings
	}
	self := filepath.Dir(os.Args[0])
	fmt.Fprintf(d.out, tryText, list, r.API, name, r.Etcd, longest.FQName[len(longest.FQName)-1], self)
}

const tryText = `Job templates:
%[1]s
Start a job, look at it, and stop it: gracefully (the current playbook finishes) or by force (everything dies now):

  export QUELL_API=%[2]s
  JOB=$(%[6]s/quell job run %[5]s); %[6]s/quell job show $JOB
  %[6]s/quell abort $JOB
  %[6]s/quell abort $JOB --force --wait

The same by HTTP, as Contrail's users do it:

  JOB=$(curl -s %[2]s/execute-job -d '{"job_template_fq_name": %[3]s, "input": {}}' | sed 's/.*: *"\(.*\)".*/\1/'); echo $JOB
  curl -s %[2]s/v1/jobs/$JOB/log
  curl -s %[2]s/abort-job -d '{"input": {"job_execution_ids": ["'$JOB'"], "abort_mode": "force"}}'

And without any API server, one job or all of them:

  %[6]s/etcdctl --endpoints %[4]s put /jobs/$JOB/abort force
  %[6]s/etcdctl --endpoints %[4]s put '/jobs/*/abort' force

Ctrl-C force-aborts what still runs, and stops.

`

// abortRest ends what still runs: Ctrl-C leaves nothing behind.
func (d *dev) abortRest() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	go func() { // a second signal gives up waiting
		select {
		case <-d.signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	jobs, _, err := d.store.ActiveJobs(ctx)
	if err != nil {
		return fmt.Errorf("list the jobs that still run: %w", err)
	}
	if len(jobs) == 0 {
		return nil
	}
	fmt.Fprintf(d.out, "\nForce-aborting %d job(s), without their recovery playbooks …\n", len(jobs))
	if _, err := d.store.PutAbortAll(ctx, quell.Intent{
		Mode: quell.Force, Source: quell.SourceLocal, RequestedBy: "quell dev", Reason: "quell dev was stopped",
		RequestedAt: time.Now().UTC(), NoRecovery: true, Override: true,
	}); err != nil {
		return fmt.Errorf("abort the jobs that still run: %w", err)
	}
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	if err := d.store.WaitFinal(ctx, ids); err != nil {
		return fmt.Errorf("not all jobs have ended; the next start on %s goes on with them: %w", d.c.String("data-dir"), err)
	}
	fmt.Fprintln(d.out, "All of them have ended.")
	return nil
}

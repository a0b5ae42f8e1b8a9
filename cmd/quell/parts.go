package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/urfave/cli/v2"

	"quell"
	"quell/agent"
	"quell/agent/ansible"
	"quell/apiserver"
	"quell/internal/process"
	"quell/internal/scheduler"
	"quell/internal/template"
	"quell/metrics"
	"quell/store"
)

// openStore connects to etcd as part of the lifecycle.
func openStore(l *lifecycle, reg *prometheus.Registry, endpoints []string, prefix string) (*store.Store, error) {
	var s *store.Store
	m := metrics.NewEtcd(reg, func() int { return s.Behind() }) // nobody scrapes before s is there
	s, err := store.New(store.Options{Endpoints: endpoints, Prefix: prefix, Logger: l.log, Observe: m.Request})
	if err != nil {
		return nil, err
	}
	l.later("store", func(context.Context) error { return s.Close() })
	return s, nil
}

func etcdFlags() []cli.Flag {
	return []cli.Flag{
		listFlag("etcd-endpoints", "`URL`s of etcd, separated by commas"),
		stringFlag("etcd-prefix", "", "put this in front of every key in etcd"),
	}
}

func apiFlags() []cli.Flag {
	return []cli.Flag{
		stringFlag("listen", "127.0.0.1:8082", "`ADDRESS` of the API; port 0 picks one"),
		stringFlag("abort-all", "allow", "allow or deny the abort of all jobs at once, by an API request without ids or by a filter that any job can match"),
		durationFlag("queue-timeout", 0, "how long a job may wait in the queue whose template and request say no limit; 0: for ever"),
	}
}

func agentFlags() []cli.Flag {
	return append(jobFlags(),
		stringFlag("node", hostname(), "`NAME` of this node"),
		stringFlag("playbook-dir", "", "`FOLDER` with the playbooks"),
		intFlag("max-jobs", max(16, 4*runtime.NumCPU()), "run at most this many jobs at once"),
		stringFlag("shim", "", "`PATH` of quell-shim (default: beside quell, else in PATH)"),
		boolFlag("no-cgroup", "do not use cgroup v2; kill by the shim as child subreaper"),
	)
}

func readyFlag() cli.Flag {
	return stringFlag("print-ready", "", "write a line of JSON to this `FILE` once all of it serves")
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}

// startAPI starts the API server and the scheduler in it.
func startAPI(c *cli.Context, l *lifecycle, s *store.Store, listener net.Listener, reg *prometheus.Registry, who string) (*apiserver.Server, error) {
	policy := c.String("abort-all")
	if policy != "allow" && policy != "deny" {
		return nil, usageError{fmt.Errorf("--abort-all %q is neither allow nor deny", policy)}
	}
	server, err := apiserver.New(apiserver.Options{
		Store: s, Logger: l.log.With("part", "api"), Metrics: metrics.NewAPI(reg), Gatherer: reg, DenyAbortAll: policy == "deny",
	})
	if err != nil {
		return nil, err
	}
	server.Start(listener)
	l.later("api", server.Stop)
	go func() { // ends with Stop
		<-server.Done()
		if err := server.Err(); err != nil {
			l.fail("api", err)
		}
	}()
	if c.Duration("queue-timeout") < 0 {
		return nil, usageError{fmt.Errorf("--queue-timeout %s is below zero", c.Duration("queue-timeout"))}
	}
	sched := scheduler.New(scheduler.Options{
		Store: s, Name: who, Limits: quell.Limits{Queue: c.Duration("queue-timeout")}, Logger: l.log.With("part", "scheduler"), Metrics: metrics.NewScheduler(reg),
	})
	l.background("scheduler", sched.Run)
	return server, nil
}

// startAgent starts the agent and what it serves.
func startAgent(c *cli.Context, l *lifecycle, s *store.Store, dataDir string, listener net.Listener, advertise string, reg *prometheus.Registry) (*agent.Agent, error) {
	if c.String("playbook-dir") == "" {
		return nil, usageError{fmt.Errorf("--playbook-dir is missing: name the folder with the playbooks")}
	}
	log := l.log.With("part", "agent")
	limits, err := limitsOf(c)
	if err != nil {
		return nil, err
	}
	labels, err := labelsOf(c)
	if err != nil {
		return nil, err
	}
	instance, err := lockDataDir(l, dataDir)
	if err != nil {
		return nil, err
	}
	shim, err := findShim(c.String("shim"))
	if err != nil {
		return nil, err
	}
	processes, err := process.New(process.Options{
		Root: agent.RunsDir(dataDir), Shim: shim, NoCgroup: c.Bool("no-cgroup"), Logger: log,
	})
	if err != nil {
		return nil, err
	}
	l.later("processes", func(context.Context) error { processes.Close(); return nil })
	uriMap, err := uriMapOf(c)
	if err != nil {
		return nil, err
	}
	play, err := ansible.New(ansible.Options{
		PlaybookDir: c.String("playbook-dir"), PluginDir: filepath.Join(dataDir, "plugins"),
		Inventory: c.String("inventory"), VaultPasswordFile: c.String("vault-password-file"), URIMap: uriMap,
	})
	if err != nil {
		return nil, err
	}
	a, err := agent.New(agent.Options{
		Info: quell.NodeInfo{
			Node: c.String("node"), Address: strings.TrimSuffix(advertise, "/"), Release: version,
			Capacity: c.Int("max-jobs"), Instance: instance, Labels: labels,
		},
		DataDir: dataDir, TempDir: os.TempDir(), Store: s, Processes: agent.Supervised(processes), Ansible: play, Limits: limits,
		CheckOutput: template.CheckOutput, Logger: log, Metrics: metrics.NewAgent(reg),
	})
	if err != nil {
		return nil, err
	}
	serve(l, "agent's listener", listener, a.Handler(promhttp.HandlerFor(reg, promhttp.HandlerOpts{})))
	l.background("agent", a.Run)
	return a, nil
}

// serve runs an HTTP server as part of the lifecycle.
func serve(l *lifecycle, name string, listener net.Listener, h http.Handler) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
	}
	l.background(name, func(ctx context.Context) error {
		server.BaseContext = func(net.Listener) context.Context { return ctx } // logs that are followed end with it
		stopped := make(chan error, 1)
		stop := context.AfterFunc(ctx, func() {
			deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime/2)
			defer cancel()
			stopped <- server.Shutdown(deadline)
		})
		err := server.Serve(listener)
		if !stop() {
			if <-stopped != nil {
				return server.Close()
			}
			return nil
		}
		return err
	})
}

// lockDataDir makes the data folder this process' own and returns the
// folder's identity, which it keeps for life.
func lockDataDir(l *lifecycle, dir string) (string, error) {
	if dir == "" {
		return "", usageError{fmt.Errorf("--data-dir is missing: name a folder for logs and state")}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("--data-dir: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return "", fmt.Errorf("--data-dir: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return "", quell.Errorf(quell.CodeAlready, "another agent uses the data folder %s: stop it, or give this one another --data-dir", dir)
	}
	l.later("lock of the data folder", func(context.Context) error { return lock.Close() })
	path := filepath.Join(dir, "instance")
	if text, err := os.ReadFile(path); err == nil {
		if id, err := uuid.Parse(strings.TrimSpace(string(text))); err == nil {
			return id.String(), nil
		}
	}
	id := uuid.NewString()
	if err := os.WriteFile(path, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("--data-dir: %w", err)
	}
	return id, nil
}

// findShim finds quell-shim where it was built or installed.
func findShim(path string) (string, error) {
	candidates := []string{path}
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find quell-shim: %w", err)
		}
		candidates = []string{filepath.Join(filepath.Dir(self), "quell-shim")}
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			candidates = append(candidates, filepath.Join(dir, "quell-shim"))
		}
	}
	for _, candidate := range candidates {
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return filepath.Abs(candidate)
		}
	}
	return "", quell.Errorf(quell.CodeInvalid, "quell-shim was not found (looked at %s first): install it beside quell, or say --shim PATH", candidates[0])
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"quell/metrics"
	"quell/store"
)

func apiserverCommand(signals <-chan os.Signal) *cli.Command {
	flags := append(append(etcdFlags(), apiFlags()...), readyFlag())
	return command("apiserver", "serve the API and take part in the scheduler", flags, func(c *cli.Context, log *slog.Logger) error {
		l := newLifecycle(log)
		defer l.stop()
		listener, s, reg, err := open(c, l)
		if err != nil {
			return err
		}
		server, err := startAPI(c, l, s, listener, reg, hostname()+" "+uuid.NewString())
		if err != nil {
			return err
		}
		log.Info("the API is served", "at", urlOf(listener))
		return l.serve(signals, c.String("print-ready"), ready{API: urlOf(listener)}, "etcd and the jobs in it", server.Ready)
	})
}

func agentCommand(signals <-chan os.Signal) *cli.Command {
	flags := append(append(etcdFlags(), agentFlags()...), readyFlag(),
		stringFlag("data-dir", "", "`FOLDER` of this agent alone for logs and state"),
		stringFlag("listen", "127.0.0.1:8083", "`ADDRESS` at which API servers fetch logs; port 0 picks one"),
		stringFlag("advertise", "", "`URL` under which API servers reach --listen (default: its address)"))
	return command("agent", "run the jobs that this node is given", flags, func(c *cli.Context, log *slog.Logger) error {
		l := newLifecycle(log)
		defer l.stop()
		listener, s, reg, err := open(c, l)
		if err != nil {
			return err
		}
		advertise := c.String("advertise")
		if advertise == "" {
			advertise = urlOf(listener)
		}
		a, err := startAgent(c, l, s, c.String("data-dir"), listener, advertise, reg)
		if err != nil {
			return err
		}
		return l.serve(signals, c.String("print-ready"), ready{Node: c.String("node")}, "etcd and the node's registration", a.Ready)
	})
}

// open binds the listener and connects to etcd, as both daemons do.
func open(c *cli.Context, l *lifecycle) (net.Listener, *store.Store, *prometheus.Registry, error) {
	listener, err := listen("listen", c.String("listen"), c.Bool("insecure"))
	if err != nil {
		return nil, nil, nil, err
	}
	// Whoever serves it closes it, too.
	l.later("listener", func(context.Context) error { _ = listener.Close(); return nil })
	reg := metrics.NewRegistry(version)
	s, err := openStore(l, reg, c.StringSlice("etcd-endpoints"), c.String("etcd-prefix"))
	return listener, s, reg, err
}

// serve waits until check is content, says so, and waits for a signal or the
// failure of a part.
func (l *lifecycle) serve(signals <-chan os.Signal, path string, r ready, what string, check func(context.Context) error) error {
	if err := l.until(signals, what, check); err != nil {
		if errors.Is(err, errStopped) {
			return nil
		}
		return err
	}
	if err := l.writeReady(path, r); err != nil {
		return err
	}
	select {
	case s := <-signals:
		l.log.Info("stopping", "signal", s.String())
		return nil
	case err := <-l.failed:
		return err
	}
}

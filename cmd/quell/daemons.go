package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"quell/metrics"
)

func apiserverCommand(signals <-chan os.Signal) *cli.Command {
	flags := append(append(etcdFlags(), apiFlags()...), readyFlag())
	return command("apiserver", "serve the API and take part in the scheduler", flags, func(c *cli.Context, log *slog.Logger) error {
		l := newLifecycle(log)
		defer l.stop()
		listener, err := listen("listen", c.String("listen"), c.Bool("insecure"))
		if err != nil {
			return err
		}
		defer listener.Close()
		reg := metrics.NewRegistry(version)
		s, err := openStore(l, reg, c.StringSlice("etcd-endpoints"), c.String("etcd-prefix"))
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
		listener, err := listen("listen", c.String("listen"), c.Bool("insecure"))
		if err != nil {
			return err
		}
		defer listener.Close()
		reg := metrics.NewRegistry(version)
		s, err := openStore(l, reg, c.StringSlice("etcd-endpoints"), c.String("etcd-prefix"))
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

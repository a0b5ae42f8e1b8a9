package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// lifecycle starts the parts of a process and stops them in the opposite
// order, whether the start went well or not.
type lifecycle struct {
	log    *slog.Logger
	failed chan error // of a part that ended although nobody stopped it; buffered
	steps  []teardown
}

type teardown struct {
	name string
	stop func(context.Context) error
}

// stopTime bounds each step of the teardown.
const stopTime = 10 * time.Second

func newLifecycle(log *slog.Logger) *lifecycle {
	return &lifecycle{log: log, failed: make(chan error, 16)}
}

// later adds a step of the teardown.
func (l *lifecycle) later(name string, stop func(context.Context) error) {
	l.steps = append(l.steps, teardown{name, stop})
}

// background runs a part until its context ends, as part of the teardown.
func (l *lifecycle) background(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := run(ctx)
		if ctx.Err() == nil {
			l.fail(name, err)
		}
	}()
	l.later(name, func(limit context.Context) error {
		cancel()
		select {
		case <-ended:
			return nil
		case <-limit.Done():
			return fmt.Errorf("it has not ended within %s", stopTime)
		}
	})
}

func (l *lifecycle) fail(name string, err error) {
	if err == nil {
		err = errors.New("it ended by itself")
	}
	l.failed <- fmt.Errorf("%s: %w", name, err)
}

// stop undoes what was started, the last first.
func (l *lifecycle) stop() {
	for i := len(l.steps) - 1; i >= 0; i-- {
		step := l.steps[i]
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		if err := step.stop(ctx); err != nil {
			l.log.Warn("a part did not stop well", "part", step.name, "error", err)
		}
		cancel()
	}
	l.steps = nil
}

// ready is the line of the ready file (design: What users type).
type ready struct {
	API  string `json:"api,omitempty"`
	Etcd string `json:"etcd,omitempty"`
	Node string `json:"node,omitempty"`
	PID  int    `json:"pid"`
}

// writeReady puts the ready file in place as a whole; it goes with the process.
func (l *lifecycle) writeReady(path string, r ready) error {
	if path == "" {
		return nil
	}
	r.PID = os.Getpid()
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("--print-ready: %w", err)
	}
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), r.PID))
	if err := os.WriteFile(temp, append(line, '\n'), 0o644); err != nil {
		return fmt.Errorf("--print-ready: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("--print-ready: %w", err)
	}
	l.later("ready file", func(context.Context) error { return os.Remove(path) })
	return nil
}

// until calls check until it returns nil, a part fails or a signal comes.
func (l *lifecycle) until(signals <-chan os.Signal, what string, check func(context.Context) error) error {
	told := time.Now()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := check(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			l.log.Info("still waiting", "for", what, "because", err)
		}
		select {
		case <-signals:
			return errStopped
		case err := <-l.failed:
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// errStopped says that a signal came before everything was up.
var errStopped = errors.New("stopped by a signal while starting")

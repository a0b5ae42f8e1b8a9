package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
)

// Handler serves what the node alone has: the logs of its jobs; and /healthz,
// /readyz and, by the given handler, /metrics.
func (a *Agent) Handler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/jobs/{id}/log", a.serveLog)
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, req *http.Request) {
		ctx, cancel := context.WithTimeout(req.Context(), 2*time.Second)
		defer cancel()
		if err := a.Ready(ctx); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	return mux
}

// serveLog sends the output of a job's runs, one after the other.
func (a *Agent) serveLog(w http.ResponseWriter, req *http.Request) {
	id, err := uuid.Parse(req.PathValue("id"))
	if err != nil {
		http.Error(w, fmt.Sprintf("%q is no job id", req.PathValue("id")), http.StatusNotFound)
		return
	}
	runs, err := runsOf(a.o.DataDir, id.String())
	if err != nil {
		a.o.Logger.Error("the runs of a job cannot be listed", "job", id, "error", err)
		http.Error(w, "the runs of the job cannot be listed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	for _, run := range runs {
		if err := a.sendLog(w, id.String(), run); err != nil {
			a.o.Logger.Debug("a log was not sent whole", "job", id, "run", run, "error", err)
			return
		}
	}
}

func (a *Agent) sendLog(w io.Writer, job, run string) error {
	f, err := os.Open(a.o.Processes.LogPath(job, run))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(w, "==> %s <==\n", run); err != nil {
		return fmt.Errorf("send log: %w", err)
	}
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("send log: %w", err)
	}
	return nil
}

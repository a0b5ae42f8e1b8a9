package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Bounds of what is served of a log.
const (
	headerLogSize  = "X-Quell-Log-Size"
	growthPause    = 100 * time.Millisecond // between two looks at a log that is followed
	sendTimeout    = 60 * time.Second       // for a client to take a piece
	defaultMatches = 100
	maxMatches     = 1000
	maxSearchText  = 256
)

// runName is what quell.RunRef.Name makes.
var runName = regexp.MustCompile(`^(playbook|recovery)-[0-9]+(-device-[0-9]+)?(-try-[0-9]+)?$`)

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

// serveLog serves the output of a job's runs: whole or a range of it, as it
// grows (?follow=true&offset=N), or the lines with a text (?search=TEXT); of
// all of them, or of one (?run=NAME).
func (a *Agent) serveLog(w http.ResponseWriter, req *http.Request) {
	id, err := uuid.Parse(req.PathValue("id"))
	if err != nil {
		http.Error(w, fmt.Sprintf("%q is no job id", req.PathValue("id")), http.StatusNotFound)
		return
	}
	query := req.URL.Query()
	follow, search, run := query.Get("follow") == "true", query.Get("search"), query.Get("run")
	if run != "" && !runName.MatchString(run) {
		http.Error(w, "run is no name of a run", http.StatusBadRequest)
		return
	}
	log, err := a.openLog(id.String(), run)
	if err != nil {
		a.o.Logger.Error("the log of a job cannot be read", "job", id, "error", err)
		http.Error(w, "the log of the job cannot be read", http.StatusInternalServerError)
		return
	}
	defer log.close()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set(headerLogSize, strconv.FormatInt(log.size, 10))
	switch {
	case follow:
		a.followLog(w, req, id.String(), log)
	case search != "":
		a.searchLog(w, req, log)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if strings.Contains(req.Header.Get("Range"), ",") {
			req.Header.Del("Range") // several ranges are a format of their own
		}
		http.ServeContent(w, req, "", time.Time{}, io.NewSectionReader(log, 0, log.size))
	}
}

// followLog sends the log from an offset on, and what is added, until the
// client goes away or the agent stops. Nobody here knows when the job is
// final: the API server does, and it goes away then.
func (a *Agent) followLog(w http.ResponseWriter, req *http.Request, job string, log *jobLog) {
	offset, err := strconv.ParseInt(req.URL.Query().Get("offset"), 10, 64)
	if req.URL.Query().Has("offset") && (err != nil || offset < 0) {
		http.Error(w, "offset is not a number of bytes", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	control := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	ticker := time.NewTicker(growthPause)
	defer ticker.Stop()
	for {
		if offset < log.size {
			_ = control.SetWriteDeadline(time.Now().Add(sendTimeout)) // not supported without a connection
			n, err := io.CopyN(w, io.NewSectionReader(log, offset, log.size-offset), min(log.size-offset, 1<<20))
			if offset += n; err != nil {
				a.o.Logger.Debug("a log was not sent whole", "job", job, "error", err)
				return
			}
		}
		_ = control.Flush()
		if offset < log.size {
			continue
		}
		select {
		case <-req.Context().Done():
			return
		case <-ticker.C:
		}
		if err := a.extend(job, log); err != nil {
			a.o.Logger.Error("the log of a job cannot be read", "job", job, "error", err)
			return
		}
	}
}

// searchAnswer is the answer to ?search=.
type searchAnswer struct {
	Matches   []searchMatch `json:"matches"`
	Truncated bool          `json:"truncated"`
	Size      int64         `json:"size"`
}

type searchMatch struct {
	Line   int64  `json:"line"`
	Offset int64  `json:"offset"`
	Text   string `json:"text"`
}

func (a *Agent) searchLog(w http.ResponseWriter, req *http.Request, log *jobLog) {
	text, most := req.URL.Query().Get("search"), defaultMatches
	if n, err := strconv.Atoi(req.URL.Query().Get("limit")); err == nil && n > 0 {
		most = min(n, maxMatches)
	}
	if len(text) > maxSearchText {
		http.Error(w, "the text to search for is too long", http.StatusBadRequest)
		return
	}
	found, err := search(req.Context(), log, text, most)
	if err != nil {
		a.o.Logger.Debug("a log was not searched to its end", "error", err)
		http.Error(w, "the log of the job cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(found); err != nil {
		a.o.Logger.Debug("an answer was not taken", "error", err)
	}
}

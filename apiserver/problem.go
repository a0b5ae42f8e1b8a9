package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"quell"
)

// statuses is the one table from an error's code to the HTTP status. Clients
// repeat what got a 503, so only what was certainly not written is one.
var statuses = map[quell.Code]int{
	quell.CodeInvalid:     http.StatusBadRequest,
	quell.CodeUnsupported: http.StatusBadRequest,
	quell.CodeForbidden:   http.StatusForbidden,
	quell.CodeNotFound:    http.StatusNotFound,
	quell.CodeConflict:    http.StatusConflict,
	quell.CodeStale:       http.StatusConflict,
	quell.CodeNotOwner:    http.StatusConflict,
	quell.CodeAlready:     http.StatusConflict,
	quell.CodeTooLarge:    http.StatusRequestEntityTooLarge,
	quell.CodeUnavailable: http.StatusServiceUnavailable,
	quell.CodeUnknown:     http.StatusGatewayTimeout,
	quell.CodeNoSpace:     http.StatusInsufficientStorage,
	quell.CodeInternal:    http.StatusInternalServerError,
}

// problem is an error as clients see it: RFC 9457, with Quell's code, and
// with what a client needs to know of a request that was carried out in part.
type problem struct {
	Type   string     `json:"type"`
	Title  string     `json:"title"`
	Status int        `json:"status"`
	Detail string     `json:"detail"`
	Code   quell.Code `json:"code"`

	// JobID is the job whose creation is in doubt.
	JobID string `json:"job_execution_id,omitempty"`
	// Results are those of the jobs whose abort was answered.
	Results []result `json:"results,omitempty"`
	// InDoubt are the jobs whose abort may have been written or not, and
	// NotWritten those whose abort certainly was not.
	InDoubt    []string `json:"job_execution_ids,omitempty"`
	NotWritten []string `json:"not_written,omitempty"`
}

// newProblem makes the problem document of an error, with what the error
// knows of a request that was carried out in part.
func newProblem(err error) problem {
	code := quell.CodeOf(err)
	status, known := statuses[code]
	if !known {
		status = http.StatusInternalServerError
	}
	p := problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: quell.MessageOf(err), Code: code,
	}
	var partial *partialError
	var doubt *doubtError
	if errors.As(err, &partial) {
		p.Results, p.InDoubt, p.NotWritten = partial.results, partial.inDoubt, partial.notWritten
	}
	if errors.As(err, &doubt) {
		p.JobID = doubt.jobID
	}
	return p
}

// fail answers with an error. What the user is not told goes to the log.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.failWith(w, r, err, newProblem(err))
}

// failWith answers with a problem that was made from err and added to.
func (s *Server) failWith(w http.ResponseWriter, r *http.Request, err error, p problem) {
	s.logProblem(r.Context(), r.Method, r.URL.Path, err, p)
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	s.writeJSON(w, r, p.Status, problemType, p)
}

// logProblem keeps what the user is not told.
func (s *Server) logProblem(ctx context.Context, method, path string, err error, p problem) {
	level := slog.LevelDebug
	if p.Status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	s.log.Log(ctx, level, "request failed", keyMethod, method, keyPath, path,
		keyStatus, p.Status, keyCode, p.Code, keyError, err)
}

// answer sends a value as JSON.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v any) {
	s.writeJSON(w, r, http.StatusOK, "application/json", v)
}

func (s *Server) writeJSON(w http.ResponseWriter, r *http.Request, status int, contentType string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		s.log.Error("an answer cannot be encoded", keyPath, r.URL.Path, keyError, err)
		http.Error(w, `{"status":500,"code":"internal"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A client that does not take its answer must not hold the request for
	// ever. Where there is no connection (tests) there is no deadline.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	if _, err := w.Write(append(text, '\n')); err != nil {
		s.log.Debug("an answer was not taken", keyPath, r.URL.Path, keyError, err)
	}
}

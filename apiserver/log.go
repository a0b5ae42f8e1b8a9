package apiserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"quell"
)

const textPlain = "text/plain; charset=utf-8"

// agentClient fetches logs from agents. Nodes are reached directly, and an
// agent that redirects is none.
func agentClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
			TLSHandshakeTimeout:   3 * time.Second,
			ResponseHeaderTimeout: 5 * time.Second,
			IdleConnTimeout:       time.Minute,
			MaxIdleConnsPerHost:   4,
		}
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// getLog passes on the job's log from the node that has it.
func (s *Server) getLog(w http.ResponseWriter, r *http.Request) {
	job, err := s.jobOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	node := job.State.Node
	if node == "" { // not placed yet, or aborted before it was
		w.Header().Set("Content-Type", textPlain)
		w.WriteHeader(http.StatusOK)
		return
	}
	// The log is given up when the client goes away or the server stops.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	response, err := s.fetchLog(ctx, job)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	w.Header().Set("Content-Type", textPlain)
	w.WriteHeader(http.StatusOK)
	if response.StatusCode == http.StatusNotFound {
		return // see fetchLog
	}
	if err := stream(w, response.Body); err != nil {
		s.log.Debug("a log was cut off", keyJob, job.Spec.ID, keyNode, node, keyError, err)
		panic(http.ErrAbortHandler) // the only way to tell the client that there was more
	}
}

// fetchLog asks the job's node for its log. Its answer is 200, or 404 where
// the job has not begun and so has no log yet.
func (s *Server) fetchLog(ctx context.Context, job quell.Job) (*http.Response, error) {
	name := job.State.Node
	nodes, err := read(ctx, s.opts.StoreTimeout, s.store.Nodes)
	if err != nil {
		return nil, err
	}
	address := ""
	for _, node := range nodes {
		if node.Info.Node == name {
			address = node.Info.Address
		}
	}
	if address == "" {
		return nil, quell.Errorf(quell.CodeUnavailable, "the log is on the node %s, whose agent is not there now: try again when it is back", name)
	}
	target, err := logURL(address, job.Spec.ID)
	if err != nil {
		return nil, unreachable(name, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, unreachable(name, err)
	}
	response, err := s.agents.Do(request)
	if err != nil {
		return nil, unreachable(name, err)
	}
	switch {
	case response.StatusCode == http.StatusOK:
		return response, nil
	case response.StatusCode == http.StatusNotFound && job.State.StartedAt == nil:
		return response, nil
	}
	_ = response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return nil, quell.Errorf(quell.CodeNotFound, "the node %s has no log of the job %s (any more)", name, job.Spec.ID)
	}
	return nil, unreachable(name, errors.New("its agent answered "+response.Status))
}

// logURL is where the agent serves the job's log.
func logURL(address, id string) (string, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return "", errors.New("its address is no URL: " + excerpt(address))
	}
	return base.JoinPath("v1", "jobs", id, "log").String(), nil
}

// unreachable names the node to the user and leaves the cause to the log.
func unreachable(node string, err error) error {
	return &quell.Error{
		Code: quell.CodeUnavailable, Err: err,
		Message: "the log is on the node " + node + ", which is out of reach: try again when it is back",
	}
}

// stream copies the log to the client as it comes. The client has a limited
// time to take each piece.
func stream(w http.ResponseWriter, from io.Reader) error {
	control := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	for {
		n, readErr := from.Read(buffer)
		if n > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(answerTimeout)) // not supported without a connection
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
			if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return readErr
		}
	}
}

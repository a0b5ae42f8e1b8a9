package apiserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"quell"
)

const (
	textPlain = "text/plain; charset=utf-8"
	// maxSearch bounds the text that is searched for, in bytes.
	maxSearch = 256
)

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
			DisableCompression:    true, // offsets are those of the text
		}
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// logRequest is what is wanted of a log.
type logRequest struct {
	follow bool
	offset int64  // with follow
	search string // empty: the log itself
	limit  string
	run    string // empty: all of them
	ranges string // the header Range
}

func parseLogRequest(r *http.Request) (logRequest, error) {
	values, err := checkQuery(r, "follow", "offset", "search", "limit", "run")
	if err != nil {
		return logRequest{}, err
	}
	q := logRequest{search: values.Get("search"), limit: values.Get("limit"), run: values.Get("run"), ranges: r.Header.Get("Range")}
	switch values.Get("follow") {
	case "true":
		q.follow = true
	case "false", "":
	default:
		return q, invalid("the query parameter follow=%q is neither true nor false", excerpt(values.Get("follow")))
	}
	if values.Has("offset") {
		q.offset, err = strconv.ParseInt(values.Get("offset"), 10, 64)
		if err != nil || q.offset < 0 {
			return q, invalid("the query parameter offset=%q is not a number of bytes", excerpt(values.Get("offset")))
		}
	}
	switch {
	case values.Has("run") && !runName.MatchString(q.run):
		err = invalid("the query parameter run=%q is no run: give a name such as playbook-0, playbook-1-device-3 or recovery-0", excerpt(q.run))
	case values.Has("search") && (q.search == "" || len(q.search) > maxSearch || strings.ContainsAny(q.search, "\r\n")):
		err = invalid("the query parameter search is empty, longer than %d bytes, or holds a line break", maxSearch)
	case values.Has("search") && q.follow:
		err = invalid("the query has search and follow: give one of them")
	case values.Has("offset") && !q.follow:
		err = invalid("the query parameter offset goes with follow=true: use the header Range: bytes=%d-", q.offset)
	case values.Has("limit") && q.search == "":
		err = invalid("the query parameter limit goes with search")
	case q.ranges != "" && q.follow:
		err = invalid("a Range does not go with follow=true: give offset")
	}
	if n, convErr := strconv.Atoi(q.limit); err == nil && q.limit != "" && (convErr != nil || n < 1 || n > 1000) {
		err = invalid("the query parameter limit=%q is not a number from 1 to 1000", excerpt(q.limit))
	}
	return q, err
}

// query is how the agent is asked for it.
func (q logRequest) query() url.Values {
	values := url.Values{}
	if q.follow {
		values.Set("follow", "true")
		values.Set("offset", strconv.FormatInt(q.offset, 10))
	}
	if q.search != "" {
		values.Set("search", q.search)
	}
	if q.limit != "" {
		values.Set("limit", q.limit)
	}
	if q.run != "" {
		values.Set("run", q.run)
	}
	return values
}

// getLog passes on the job's log from the node that has it.
func (s *Server) getLog(w http.ResponseWriter, r *http.Request) {
	q, err := parseLogRequest(r)
	var job quell.Job
	if err == nil {
		job, err = s.job(r.Context(), r.PathValue("id"))
	}
	if err == nil {
		err = checkRun(q.run, job)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// The log is given up when the client goes away or the server stops.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	if q.follow {
		s.followLog(ctx, w, r, q, job)
		return
	}
	if job.State.Node == "" { // not placed yet, or aborted before it was
		s.emptyLog(w, r, q)
		return
	}
	response, err := s.fetchLog(ctx, job, q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusNotFound: // see fetchLog
		s.emptyLog(w, r, q)
		return
	case http.StatusRequestedRangeNotSatisfiable:
		s.unsatisfiable(w, r, response)
		return
	}
	passHeaders(w, response, q)
	w.WriteHeader(response.StatusCode)
	if _, err := stream(w, response.Body); err != nil {
		s.log.Debug("a log was cut off", keyJob, job.Spec.ID, keyNode, job.State.Node, keyError, err)
		panic(http.ErrAbortHandler) // the only way to tell the client that there was more
	}
}

// emptyLog answers for a job that has written nothing yet.
func (s *Server) emptyLog(w http.ResponseWriter, r *http.Request, q logRequest) {
	if q.search != "" {
		s.answer(w, r, logMatches{Matches: []logMatch{}})
		return
	}
	w.Header().Set("Content-Type", textPlain)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set(headerLogSize, "0")
	w.WriteHeader(http.StatusOK)
}

// passHeaders takes over those of the agent's headers that describe the text.
// A log is never a page, whatever an agent says.
func passHeaders(w http.ResponseWriter, response *http.Response, q logRequest) {
	for _, name := range []string{"Content-Length", "Content-Range", "Accept-Ranges", headerLogSize} {
		if value := response.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", textPlain)
	if q.search != "" {
		w.Header().Set("Content-Type", "application/json")
	}
}

func (s *Server) unsatisfiable(w http.ResponseWriter, r *http.Request, response *http.Response) {
	size := response.Header.Get("Content-Range")
	w.Header().Set("Content-Range", size)
	err := invalid("the range begins behind the end of the log (%s)", excerpt(size))
	p := newProblem(err)
	p.Status, p.Title = response.StatusCode, http.StatusText(response.StatusCode)
	s.failWith(w, r, err, p)
}

// fetchLog asks the job's node for its log. Its answer is 200, 206 or 416, or
// 404 where what is asked for has not begun and so has no log yet.
func (s *Server) fetchLog(ctx context.Context, job quell.Job, q logRequest) (*http.Response, error) {
	name := job.State.Node
	address, err := s.addressOf(ctx, name)
	if err != nil {
		return nil, err
	}
	target, err := logURL(address, job.Spec.ID, q.query())
	if err != nil {
		return nil, unreachable(name, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, unreachable(name, err)
	}
	if q.ranges != "" {
		request.Header.Set("Range", q.ranges)
	}
	response, err := s.agents.Do(request)
	if err != nil {
		return nil, unreachable(name, err)
	}
	passed := []int{http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable}
	switch {
	case slices.Contains(passed, response.StatusCode):
		return response, nil
	case response.StatusCode == http.StatusNotFound && nothingYet(job, q.run):
		return response, nil
	}
	_ = response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		what := "the job " + job.Spec.ID
		if q.run != "" {
			what = "the run " + q.run + " of " + what
		}
		return nil, quell.Errorf(quell.CodeNotFound, "the node %s has no log of %s (any more)", name, what)
	}
	return nil, unreachable(name, errors.New("its agent answered "+response.Status))
}

// addressOf is where the node's agent is now.
func (s *Server) addressOf(ctx context.Context, name string) (string, error) {
	nodes, err := read(ctx, s.opts.StoreTimeout, s.store.Nodes)
	if err != nil {
		return "", err
	}
	for _, node := range nodes {
		if node.Info.Node == name && node.Info.Address != "" {
			return node.Info.Address, nil
		}
	}
	return "", quell.Errorf(quell.CodeUnavailable, "the log is on the node %s, whose agent is not there now: try again when it is back", name)
}

// logURL is where the agent serves the job's log.
func logURL(address, id string, query url.Values) (string, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return "", errors.New("its address is no URL: " + excerpt(address))
	}
	target := base.JoinPath("v1", "jobs", id, "log")
	target.RawQuery = query.Encode()
	return target.String(), nil
}

// unreachable names the node to the user and leaves the cause to the log.
func unreachable(node string, err error) error {
	return &quell.Error{
		Code: quell.CodeUnavailable, Err: err,
		Message: "the log is on the node " + node + ", which is out of reach: try again when it is back",
	}
}

// takeError is a failure of the client to take what it is sent.
type takeError struct{ error }

// stream copies the log to the client as it comes, and says how much. The
// client has a limited time to take each piece.
func stream(w http.ResponseWriter, from io.Reader) (int64, error) {
	control := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	sent := int64(0)
	for {
		n, readErr := from.Read(buffer)
		if n > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(answerTimeout)) // not supported without a connection
			if _, err := w.Write(buffer[:n]); err != nil {
				return sent, takeError{err}
			}
			sent += int64(n)
			if err := flush(control); err != nil {
				return sent, takeError{err}
			}
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return sent, nil
		case readErr != nil:
			return sent, readErr
		}
	}
}

func flush(control *http.ResponseController) error {
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

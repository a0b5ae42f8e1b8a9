package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// answerTime bounds how long an answer may take.
	answerTime = time.Minute
	// maxAnswer bounds an answer, in bytes; logs are not read whole.
	maxAnswer = 256 << 20
)

// client asks the API.
type client struct {
	base *url.URL
	http *http.Client
}

// newClient reads the API's address.
func newClient(address string) (*client, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.Fragment != "" {
		return nil, usageError{fmt.Errorf("--api %q is not a URL such as http://127.0.0.1:8082", address)}
	}
	return &client{base: base, http: &http.Client{}}, nil
}

// request is what a command asks of the API.
type request struct {
	method string
	path   []string // its parts, not encoded
	query  url.Values
	body   []byte
	header http.Header
	extra  time.Duration // what the answer may take beyond the usual
}

// answer is what the API said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// into decodes the answer.
func (a answer) into(v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("the API's answer cannot be read (is that Quell?): %w", err)
	}
	return nil
}

// ask makes a request and reads the answer whole.
func (c *client) ask(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime+r.extra)
	defer cancel()
	response, err := c.open(ctx, r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, c.outOfReach(ctx, r.method, err)
	}
	return answer{status: response.StatusCode, header: response.Header, body: body}, nil
}

// get asks for what is at a path and decodes it.
func (c *client) get(ctx context.Context, v any, path ...string) (answer, error) {
	a, err := c.ask(ctx, request{method: http.MethodGet, path: path})
	if err != nil {
		return a, err
	}
	return a, a.into(v)
}

// open makes a request and returns the answer with its body still to be read.
// Any status but 2xx is an error.
func (c *client) open(ctx context.Context, r request) (*http.Response, error) {
	req, err := c.newRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(req)
	if err != nil {
		return nil, c.outOfReach(ctx, r.method, err)
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, c.outOfReach(ctx, r.method, err)
	}
	return nil, newProblemError(response.StatusCode, body, req.URL)
}

func (c *client) newRequest(ctx context.Context, r request) (*http.Request, error) {
	escaped := make([]string, len(r.path))
	for i, part := range r.path {
		// A part that is no name would become another path.
		if part == "" || part == "." || part == ".." {
			return nil, usageError{fmt.Errorf("%q names nothing", part)}
		}
		escaped[i] = url.PathEscape(part)
	}
	target := c.base.JoinPath(escaped...)
	target.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, target.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", "quell/"+version)
	req.Header.Set("X-Quell-Source", "cli")
	req.Header.Set("X-Quell-Requester", requester())
	return req, nil
}

// requester is the user of the operating system, as the API takes it.
func requester() string {
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	printable := func(r rune) rune {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}
	if name = strings.TrimSpace(strings.Map(printable, name)); name == "" {
		name = "uid " + strconv.Itoa(os.Getuid())
	}
	return name[:min(len(name), 128)]
}

// reachError says that the API gave no answer.
type reachError struct {
	base  string
	cause error
	// maybe says that the request may have been carried out all the same.
	maybe bool
}

func (e *reachError) Error() string {
	text := fmt.Sprintf("the API at %s is out of reach (%v)", e.base, e.cause)
	if e.maybe {
		text += "; the request may have been carried out all the same"
	}
	return text + ": see that an API server (quell apiserver, quell dev) runs there, or name another by --api URL or QUELL_API"
}

func (e *reachError) Unwrap() error { return e.cause }

// outOfReach makes the error of a request that got no answer. The user's
// Ctrl-C comes before what it caused.
func (c *client) outOfReach(ctx context.Context, method string, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errInterrupted) {
		return cause
	}
	e := &reachError{base: c.base.String(), cause: err, maybe: method != http.MethodGet}
	var operation *net.OpError
	if errors.As(err, &operation) && operation.Op == "dial" {
		e.maybe = false
	}
	var inner *url.Error
	if errors.As(err, &inner) {
		e.cause = inner.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		e.cause = errors.New("no answer in time")
	}
	return e
}

// problemError is a problem document (RFC 9457).
type problemError struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	// JobID is the job whose creation is in doubt.
	JobID string `json:"job_execution_id"`
	// What a request for several jobs came to: see apiserver.
	Results    []abortedJob `json:"results"`
	InDoubt    []string     `json:"job_execution_ids"`
	NotWritten []string     `json:"not_written"`
	Errors     []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
	body []byte
}

func newProblemError(status int, body []byte, target *url.URL) *problemError {
	p := &problemError{}
	if json.Unmarshal(body, p) != nil || p.Detail == "" && p.Title == "" {
		p = &problemError{Detail: fmt.Sprintf("%s answered %d %s, and not as Quell does", target, status, http.StatusText(status))}
	}
	p.Status, p.body = status, body
	return p
}

func (p *problemError) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	for _, e := range p.Errors {
		text += "\n  " + strings.TrimPrefix(e.Location+": ", ": ") + e.Message
	}
	return printable(text)
}

// transient says whether the same request may do better soon.
func transient(err error) bool {
	var reach *reachError
	if errors.As(err, &reach) {
		return true
	}
	var p *problemError
	if !errors.As(err, &p) {
		return false
	}
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func isStatus(err error, status int) bool {
	var p *problemError
	return errors.As(err, &p) && p.Status == status
}

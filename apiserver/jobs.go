package apiserver

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"quell"
)

const (
	maxLimit     = 500
	cursorPrefix = "v1:" // so that a later release can tell its cursors apart
	// syncPatience bounds how long a list waits for the cache to reach a
	// revision.
	syncPatience = 2 * time.Second
)

// Filter are the parameters that choose jobs.
type Filter struct {
	Status      []string `query:"status,explode" doc:"Jobs in one of these statuses; repeated, or separated by commas."`
	Fabric      string   `query:"fabric" doc:"Jobs of this fabric: its fq_name joined with ':', or the last part of it."`
	Device      string   `query:"device" doc:"Jobs that have this device_id."`
	Node        string   `query:"node" doc:"Jobs of this node."`
	Template    string   `query:"template" doc:"Jobs of this job template: its fq_name joined with ':', or the last part of it."`
	Requester   string   `query:"requester" doc:"Jobs of this requester, with or without the address behind it."`
	Transaction string   `query:"transaction" doc:"Jobs of this transaction, by its id."`
	Since       string   `query:"since" doc:"Jobs created then or later: RFC 3339, or how long ago, such as 2h."`
	Until       string   `query:"until" doc:"Jobs created before: RFC 3339, or how long ago, such as 30m."`
	Text        string   `query:"text" doc:"Jobs with this text (in any case) in their id, names, fabric, devices, node, requester, reason or transaction."`
}

// Paging are the parameters of one page of a list.
type Paging struct {
	Limit       int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor      string `query:"cursor" doc:"The next_cursor of the page before."`
	MinRevision int64  `query:"min_revision" minimum:"0" doc:"Wait until the cache has reached this revision of the store."`
}

type listInput struct {
	Request
	Filter
	Paging
}

type listOutput struct {
	Age  string `header:"X-Quell-Cache-Age" doc:"Seconds since the cache was last proved to be fresh."`
	Body jobList
}

// turnTo returns the key before which the page starts, when the cache is as
// new as the page has to be.
func (s *Server) turnTo(ctx context.Context, page Paging) (before string, err error) {
	if page.Cursor != "" {
		if before, err = parseCursor(page.Cursor); err != nil {
			return "", err
		}
	}
	return before, s.sync(ctx, page.MinRevision)
}

func (s *Server) listJobs(ctx context.Context, in *listInput) (*listOutput, error) {
	matches, err := in.compile(s.opts.Now(), inQuery)
	if err != nil {
		return nil, err
	}
	before, err := s.turnTo(ctx, in.Paging)
	if err != nil {
		return nil, err
	}
	page := s.cache.list(matches, before, in.Limit)
	out := &listOutput{Age: s.cacheAge(), Body: jobList{Jobs: page.jobs, Revision: page.revision}}
	if page.more {
		out.Body.NextCursor = newCursor(page.last)
	}
	return out, nil
}

// sync waits until the cache has what this server wrote last, and what the
// client asks for.
func (s *Server) sync(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, syncPatience)
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	return s.cache.reach(ctx, max(revision, s.lastWrite.Load()))
}

// wrote remembers that this server wrote at a revision, for its next lists.
func (s *Server) wrote(revision int64) {
	for last := s.lastWrite.Load(); revision > last; last = s.lastWrite.Load() {
		if s.lastWrite.CompareAndSwap(last, revision) {
			return
		}
	}
}

// tellRevision tells the client of a plain handler at which revision all is
// stored that this server has written so far; it has remembered that.
func (s *Server) tellRevision(w http.ResponseWriter) {
	if last := s.lastWrite.Load(); last > 0 {
		w.Header().Set(headerRevision, strconv.FormatInt(last, 10))
	}
}

func (s *Server) cacheAge() string {
	return strconv.FormatFloat(s.cache.age().Seconds(), 'f', 3, 64)
}

func newCursor(id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorPrefix + id))
}

func parseCursor(cursor string) (string, error) {
	decoded, err := base64.RawURLEncoding.DecodeString(cursor)
	id, ok := strings.CutPrefix(string(decoded), cursorPrefix)
	if err == nil && ok {
		id, ok = canonicalID(id)
	}
	if err != nil || !ok {
		return "", invalid("the query parameter cursor=%q is none: give the next_cursor of the page before, or leave it out", excerpt(cursor))
	}
	return id, nil
}

// JobID is the part of an operation's input that names a job.
type JobID struct {
	ID string `path:"id" doc:"The job_execution_id."`
}

type jobInput struct {
	Request
	JobID
}

type jobOutput struct {
	Body jobBody
}

func (s *Server) getJob(ctx context.Context, in *jobInput) (*jobOutput, error) {
	job, err := s.job(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	body := newJobBody(job)
	if !job.State.Status.Final() {
		body.UnreachableSince = s.cache.unreachableSince(job.State.Node)
	}
	return &jobOutput{Body: body}, nil
}

// job reads a job by the id that a client typed.
func (s *Server) job(ctx context.Context, typed string) (quell.Job, error) {
	id, err := jobID(typed)
	if err != nil {
		return quell.Job{}, err
	}
	return read(ctx, s.opts.StoreTimeout, func(ctx context.Context) (quell.Job, error) {
		return s.store.Job(ctx, id)
	})
}

func jobID(typed string) (string, error) {
	id, ok := canonicalID(typed)
	if !ok {
		return "", quell.Errorf(quell.CodeNotFound, "there is no job %q: a job_execution_id is a UUID", excerpt(typed))
	}
	return id, nil
}

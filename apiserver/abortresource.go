package apiserver

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"quell"
)

type abortOutput struct {
	Revision string `header:"X-Quell-Revision" doc:"Of the store, after a write."`
	Body     abortResource
}

// getAbort shows the job's own abort key and its record.
func (s *Server) getAbort(ctx context.Context, in *jobInput) (*abortOutput, error) {
	job, err := s.job(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &abortOutput{Body: newAbortResource(job)}, nil
}

func newAbortResource(job quell.Job) abortResource {
	body := abortResource{
		ID: job.Spec.ID, Status: job.State.Status, Final: job.State.Status.Final(), Record: newAbortRecord(job),
	}
	if own := job.Intent; own != nil && own.Err == nil {
		body.Intent = newIntentShown(own.Intent)
	} else if own != nil {
		body.IntentError = quell.MessageOf(own.Err)
	}
	return body
}

func newIntentShown(i quell.Intent) *intentShown {
	shown := &intentShown{
		Mode: i.Mode, RequestedBy: i.RequestedBy, Source: i.Source, Reason: i.Reason,
		Recovery: !i.NoRecovery, Override: i.Override,
	}
	if !i.RequestedAt.IsZero() {
		shown.RequestedAt = utc(&i.RequestedAt)
	}
	if i.ForceAfter > 0 {
		shown.ForceAfter = i.ForceAfter.String()
	}
	return shown
}

type putAbortInput struct {
	Request
	JobID
	DryRun  bool `query:"dry_run" doc:"Only say what would be done."`
	RawBody []byte
}

type putAbortOutput struct {
	Revision string `header:"X-Quell-Revision" doc:"Of the store, when the intent was stored."`
	Body     putAbortAnswer
}

// putAbort stores an intent for one job.
func (s *Server) putAbort(ctx context.Context, in *putAbortInput) (*putAbortOutput, error) {
	id, err := jobID(in.ID)
	if err != nil {
		return nil, err
	}
	from, err := whoOf(in.http)
	if err != nil {
		return nil, err
	}
	intent, err := s.parseIntent(in.RawBody, from)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		job, err := s.job(ctx, id)
		if err != nil {
			return nil, err
		}
		held, plan := holding(job), planned(job, intent)
		if plan.Outcome == accepted {
			held = held.Merge(intent)
		}
		body := newPutAbortAnswer(job, plan.Outcome, held)
		body.DryRun = true
		return &putAbortOutput{Body: body}, nil
	}
	s.opts.Metrics.Abort(string(intent.Mode), string(intent.Source))
	wrote := false
	job, err := write(ctx, s.opts.StoreTimeout, func(ctx context.Context) (job quell.Job, err error) {
		job, wrote, err = s.store.PutIntent(ctx, id, intent)
		return job, err
	})
	if err != nil {
		return nil, err
	}
	s.log.Info("a job is aborted", keyJob, id, keyRequester, intent.RequestedBy, keyMode, intent.Mode,
		keySource, intent.Source, keyReason, intent.Reason)
	out := &putAbortOutput{Body: newPutAbortAnswer(job, written(job, wrote, intent).Outcome, holding(job))}
	if wrote && job.Intent != nil {
		s.wrote(job.Intent.Revision)
		out.Revision = strconv.FormatInt(job.Intent.Revision, 10)
	}
	return out, nil
}

func newPutAbortAnswer(job quell.Job, o outcome, held quell.Intent) putAbortAnswer {
	body := putAbortAnswer{
		ID: job.Spec.ID, Outcome: o, Status: job.State.Status, Final: job.State.Status.Final(), WaitsFor: waitsFor(job, held),
	}
	if held.Mode != "" {
		body.Intent = newIntentShown(held)
	}
	return body
}

// parseIntent reads a body that is an intent and nothing more, strictly.
func (s *Server) parseIntent(body []byte, from who) (quell.Intent, error) {
	members, err := quell.ParseObject(body)
	if err != nil {
		return quell.Intent{}, invalid("the request body: %w", err)
	}
	return s.newIntent(members, from)
}

// newIntent makes the intent that an object's members say. beside are the
// names of further members, which the caller has read.
func (s *Server) newIntent(members []quell.Member, from who, beside ...string) (quell.Intent, error) {
	i := quell.Intent{RequestedBy: from.requester, Source: from.source, RequestedAt: s.opts.Now().UTC().Round(0)}
	for _, m := range members {
		if err := setIntent(&i, m, beside); err != nil {
			return quell.Intent{}, err
		}
	}
	switch i.Mode {
	case "":
		return quell.Intent{}, invalid("mode is missing: it is graceful or force")
	case quell.Force:
		i.ForceAfter = 0 // force is at once already
	}
	return i, nil
}

func setIntent(i *quell.Intent, m quell.Member, beside []string) error {
	var err error
	var word string
	switch m.Name {
	case "mode":
		i.Mode, err = parseAbortMode(m, m.Name)
	case "reason":
		if word, err = text(m.Value, m.Name); err == nil {
			i.Reason = cut(word, maxReason)
		}
	case "force_after":
		if word, err = text(m.Value, m.Name); err == nil {
			if i.ForceAfter, err = quell.ParseForceAfter(word); err != nil {
				err = invalid("%w", err)
			}
		}
	case "recovery":
		var recovery bool
		recovery, err = flag(m)
		i.NoRecovery = !recovery
	case "override":
		i.Override, err = flag(m)
	default:
		names := append([]string{"mode", "reason", "force_after", "recovery", "override"}, beside...)
		err = invalid("the property %q is unknown: there are %s", excerpt(m.Name), strings.Join(names, ", "))
	}
	return err
}

// flag reads a value that has to be true or false.
func flag(m quell.Member) (bool, error) {
	var v *bool
	if json.Unmarshal(m.Value, &v) != nil || v == nil {
		return false, invalid("%s is %s: it is true or false", m.Name, excerpt(string(m.Value)))
	}
	return *v, nil
}

// deleteAbort withdraws a graceful intent that has not taken effect.
func (s *Server) deleteAbort(ctx context.Context, in *jobInput) (*abortOutput, error) {
	id, err := jobID(in.ID)
	if err != nil {
		return nil, err
	}
	from, err := whoOf(in.http)
	if err != nil {
		return nil, err
	}
	var revision int64
	job, err := write(ctx, s.opts.StoreTimeout, func(ctx context.Context) (job quell.Job, err error) {
		job, revision, err = s.store.WithdrawIntent(ctx, id)
		return job, err
	})
	if err != nil {
		return nil, err
	}
	s.wrote(revision)
	s.log.Info("an abort is withdrawn", keyJob, id, keyRequester, from.requester)
	return &abortOutput{Revision: strconv.FormatInt(revision, 10), Body: newAbortResource(job)}, nil
}

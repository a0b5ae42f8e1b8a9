package apiserver

import (
	"encoding/json"
	"net/http"
	"time"

	"quell"
)

// executeRequest is the body of POST /execute-job.
type executeRequest struct {
	name       quell.FQName    // empty where templateID is given
	templateID string          // a template's UUID
	input      json.RawMessage // an object
	params     quell.Params
}

// parseExecute reads and checks the body of POST /execute-job.
func parseExecute(body []byte) (executeRequest, error) {
	members, err := quell.ParseObject(body)
	if err != nil {
		return executeRequest{}, invalid("the request body: %w", err)
	}
	var req executeRequest
	var hasName, hasID bool
	for _, m := range members {
		switch m.Name {
		case "job_template_fq_name":
			hasName = true
			var parts []string
			if parts, err = texts(m.Value, m.Name); err == nil {
				req.name = parts
				err = req.name.Check()
			}
		case "job_template_id":
			hasID = true
			req.templateID, err = text(m.Value, m.Name)
		case "input":
			req.input = m.Value
			_, err = object(m, m.Name)
		case "params":
			req.params, err = parseParams(m)
		default:
			err = invalid("the property %q is unknown: there are job_template_fq_name, job_template_id, input, params", excerpt(m.Name))
		}
		if err != nil {
			return executeRequest{}, err
		}
	}
	switch {
	case hasName == hasID:
		return executeRequest{}, invalid("one of job_template_fq_name and job_template_id is required, and only one")
	case req.input == nil:
		return executeRequest{}, invalid(`input is missing: give at least "input": {}`)
	}
	return req, nil
}

func parseParams(m quell.Member) (quell.Params, error) {
	var params quell.Params
	members, err := object(m, m.Name)
	if err != nil {
		return params, err
	}
	for _, inner := range members {
		switch path := "params." + inner.Name; inner.Name {
		case "device_list":
			var list []string
			if list, err = texts(inner.Value, path); err == nil {
				params.DeviceList = once(list)
			}
		case "transaction_id":
			params.TransactionID, err = text(inner.Value, path)
		case "transaction_descr":
			params.TransactionDescr, err = text(inner.Value, path)
		default:
			err = invalid("the property %q is unknown: params has device_list, transaction_id, transaction_descr", "params."+excerpt(inner.Name))
		}
		if err != nil {
			return quell.Params{}, err
		}
	}
	return params, nil
}

// once drops what is repeated in a list, and keeps its order.
func once(list []string) []string {
	seen := make(map[string]bool, len(list))
	kept := make([]string, 0, len(list))
	for _, item := range list {
		if !seen[item] {
			seen[item] = true
			kept = append(kept, item)
		}
	}
	return kept
}

// executeQuery are the parameters of POST /execute-job beside its body.
type executeQuery struct {
	onLock                   quell.OnLock
	timeout, playbook, queue quell.Duration
}

func parseExecuteQuery(r *http.Request) (executeQuery, error) {
	values, err := checkQuery(r, "on_lock", "timeout", "playbook_timeout", "queue_timeout")
	if err != nil {
		return executeQuery{}, err
	}
	q := executeQuery{onLock: quell.OnLock(values.Get("on_lock"))}
	if values.Has("on_lock") && q.onLock != quell.OnLockWait && q.onLock != quell.OnLockFail {
		return executeQuery{}, invalid("the query parameter on_lock=%q is unknown: it is wait or fail", excerpt(values.Get("on_lock")))
	}
	for name, limit := range map[string]*quell.Duration{"timeout": &q.timeout, "playbook_timeout": &q.playbook, "queue_timeout": &q.queue} {
		if !values.Has(name) {
			continue
		}
		d, err := time.ParseDuration(values.Get(name))
		if err != nil || d <= 0 {
			return executeQuery{}, invalid("the query parameter %s=%q is not a time above zero such as 90s or 30m", name, excerpt(values.Get(name)))
		}
		*limit = quell.Duration(d)
	}
	return q, nil
}

package apiserver

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Tags of the document.
const (
	tagJobs      = "jobs"
	tagTransacts = "transactions"
	tagAborts    = "aborts"
	tagTemplates = "job templates"
	tagNodes     = "nodes"
	tagContrail  = "contrail"
)

// register registers the native API: what huma serves, and what it only
// describes.
func (s *Server) register(api huma.API) {
	s.registerJobs(api)
	s.registerAgain(api)
	s.registerTransactions(api)
	s.registerAborts(api)
	s.registerTemplates(api)
	operation(s, api, huma.Operation{
		OperationID: "list-nodes", Method: http.MethodGet, Path: "/v1/nodes", Tags: []string{tagNodes},
		Summary: "List the nodes: the registered ones, and those that are out of reach and still own jobs",
	}, s.listNodes)
	describeLog(api)
	describeEvents(api)
	describeContrail(api)
}

func (s *Server) registerJobs(api huma.API) {
	operation(s, api, huma.Operation{
		OperationID: "list-jobs", Method: http.MethodGet, Path: "/v1/jobs", Tags: []string{tagJobs},
		Summary: "List jobs, the newest first",
		Description: "Answers from the server's cache. A list that follows a write through the same server has what was written; " +
			"with min_revision (the " + headerRevision + " of the write's answer) so does one from another server.",
	}, s.listJobs)
	operation(s, api, huma.Operation{
		OperationID: "get-job", Method: http.MethodGet, Path: "/v1/jobs/{id}", Tags: []string{tagJobs},
		Summary: "Show one job, whole, as it is stored now",
	}, s.getJob)
}

func (s *Server) registerAgain(api huma.API) {
	operation(s, api, huma.Operation{
		OperationID: "resume-job", Method: http.MethodPost, Path: "/v1/jobs/{id}/resume", Tags: []string{tagJobs},
		Summary: "Go on with the work of a job that was aborted or failed, as a new job",
		Description: "It begins with the first playbook that did not end well, on the devices with which that was not done; " +
			"template, input, params, time limits and transaction are the old job's. It does not wait for the job, also where the template is synchronous. " +
			"409 when the job is not final, ended otherwise, has nothing left to do, or was resumed before.",
	}, s.resumeJob)
	operation(s, api, huma.Operation{
		OperationID: "rerun-job", Method: http.MethodPost, Path: "/v1/jobs/{id}/rerun", Tags: []string{tagJobs},
		Summary: "Do all of a job's work again, as a new job",
		Description: "Template, input, params and time limits are the old job's, however that one is or was. " +
			"The new job is a transaction of its own, unless the old one's params name one.",
	}, s.rerunJob)
	// Their bodies are read, to refuse one that asks for something.
	for _, path := range []string{"/v1/jobs/{id}/resume", "/v1/jobs/{id}/rerun"} {
		api.OpenAPI().Paths[path].Post.RequestBody = &huma.RequestBody{
			Description: "None, or an empty object.",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object", AdditionalProperties: false}}},
		}
	}
}

func (s *Server) registerTransactions(api huma.API) {
	operation(s, api, huma.Operation{
		OperationID: "list-transactions", Method: http.MethodGet, Path: "/v1/transactions", Tags: []string{tagTransacts},
		Summary:     "List transactions, those with the newest first job first",
		Description: "Answers from the server's cache, as GET /v1/jobs does.",
	}, s.listTransactions)
	operation(s, api, huma.Operation{
		OperationID: "get-transaction", Method: http.MethodGet, Path: "/v1/transactions/{id}", Tags: []string{tagTransacts},
		Summary: "Show a transaction with its jobs",
	}, s.getTransaction)
	describe(api, huma.Operation{
		OperationID: "abort-transaction", Method: http.MethodPost, Path: "/v1/transactions/{id}/abort", Tags: []string{tagTransacts, tagAborts},
		Summary:     "Abort those of a transaction's jobs that are not final",
		Parameters:  append([]*huma.Param{pathParam("id", "The transaction_id.")}, bulkParams()...),
		RequestBody: jsonBody(schemaOf(api, putAbortBody{}, "PutAbort")),
	}, jsonAnswer(api, bulkAnswer{}, "BulkAnswer"), "What became of each job")
}

func bulkParams() []*huma.Param {
	return []*huma.Param{
		queryParam("dry_run", "boolean", "Only say what would be done."),
		queryParam("wait", "string", "Answer when the jobs are final, at the latest after this time, such as 30s."),
	}
}

func (s *Server) registerAborts(api huma.API) {
	operation(s, api, huma.Operation{
		OperationID: "get-abort", Method: http.MethodGet, Path: "/v1/jobs/{id}/abort", Tags: []string{tagAborts},
		Summary: "Show the stored abort intent of a job, and what became of it",
	}, s.getAbort)
	operation(s, api, huma.Operation{
		OperationID: "put-abort", Method: http.MethodPut, Path: "/v1/jobs/{id}/abort", Tags: []string{tagAborts},
		Summary: "Abort a job",
		Description: "The intent is merged with the one that holds: force after graceful wins; graceful after force and a repetition change nothing. " +
			"The headers " + headerRequester + " and " + headerSource + " (api, cli, web) say for whom it is.",
	}, s.putAbort)
	put := api.OpenAPI().Paths["/v1/jobs/{id}/abort"].Put
	describeBody(api, put, putAbortBody{}, "PutAbort")
	operation(s, api, huma.Operation{
		OperationID: "delete-abort", Method: http.MethodDelete, Path: "/v1/jobs/{id}/abort", Tags: []string{tagAborts},
		Summary:     "Withdraw a graceful abort that has not taken effect",
		Description: "409 when it is force, has taken effect, or the job is final; 404 when there is none.",
	}, s.deleteAbort)
	describe(api, huma.Operation{
		OperationID: "abort-jobs", Method: http.MethodPost, Path: "/v1/aborts", Tags: []string{tagAborts},
		Summary: "Abort the jobs that match a filter and are not final",
		Description: "Each job gets an intent of its own, as by PUT /v1/jobs/{id}/abort; jobs that come later are not hit. " +
			"504 where that was done in part, with the jobs in doubt.",
		Parameters:  bulkParams(),
		RequestBody: jsonBody(schemaOf(api, bulkBody{}, "Bulk")),
	}, jsonAnswer(api, bulkAnswer{}, "BulkAnswer"), "What became of each job")
}

func (s *Server) registerTemplates(api huma.API) {
	operation(s, api, huma.Operation{
		OperationID: "list-job-templates", Method: http.MethodGet, Path: "/v1/job-templates", Tags: []string{tagTemplates},
		Summary: "List the job templates, by name",
	}, s.listTemplates)
	operation(s, api, huma.Operation{
		OperationID: "get-job-template", Method: http.MethodGet, Path: "/v1/job-templates/{fq_name}", Tags: []string{tagTemplates},
		Summary: "Show a job template",
	}, s.getTemplate)
	operation(s, api, huma.Operation{
		OperationID: "put-job-template", Method: http.MethodPut, Path: "/v1/job-templates/{fq_name}", Tags: []string{tagTemplates},
		Summary: "Store a job template, over an earlier one of its name",
	}, s.putTemplate)
	put := api.OpenAPI().Paths["/v1/job-templates/{fq_name}"].Put
	put.RequestBody = &huma.RequestBody{
		Required: true, Description: "One job template, as JSON or YAML. Its fq_name is the path's, or missing.",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Type: "object", AdditionalProperties: true}},
			"application/yaml": {Schema: &huma.Schema{Type: "string"}},
		},
	}
	describe(api, huma.Operation{
		OperationID: "get-job-template-schema", Method: http.MethodGet, Path: "/schemas/job-template.json", Tags: []string{tagTemplates},
		Summary: "The JSON Schema of a job template, for editors",
	}, map[string]*huma.MediaType{schemaType: {Schema: &huma.Schema{Type: "object", AdditionalProperties: true}}}, "The schema")
	operation(s, api, huma.Operation{
		OperationID: "delete-job-template", Method: http.MethodDelete, Path: "/v1/job-templates/{fq_name}", Tags: []string{tagTemplates},
		Summary: "Delete a job template; jobs that were made from it keep their copy", DefaultStatus: http.StatusNoContent,
	}, s.deleteTemplate)
}

// describe adds an operation that a plain handler serves.
func describe(api huma.API, op huma.Operation, answer map[string]*huma.MediaType, description string) {
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["200"] = &huma.Response{Description: description, Content: answer}
	op.Responses["default"] = &huma.Response{Description: "Error", Content: map[string]*huma.MediaType{
		problemType: {Schema: schemaOf(api, problem{}, "Problem")},
	}}
	api.OpenAPI().AddOperation(&op)
}

func jsonAnswer(api huma.API, of any, hint string) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: schemaOf(api, of, hint)}}
}

func jsonBody(schema *huma.Schema) *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

func pathParam(name, description string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: "string"}, Description: description}
}

func queryParam(name, kind, description string) *huma.Param {
	return &huma.Param{Name: name, In: "query", Schema: &huma.Schema{Type: kind}, Description: description}
}

func describeLog(api huma.API) {
	text := map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: "string"}}}
	size := map[string]*huma.Param{headerLogSize: {Schema: &huma.Schema{Type: "integer", Format: "int64"}}}
	content := map[string]*huma.MediaType{"text/plain": text["text/plain"]}
	content["application/json"] = &huma.MediaType{Schema: schemaOf(api, logMatches{}, "LogMatches")}
	describe(api, huma.Operation{
		OperationID: "get-log", Method: http.MethodGet, Path: "/v1/jobs/{id}/log", Tags: []string{tagJobs},
		Summary: "Read, follow or search the log of a job",
		Description: "The output of the job's runs in the order in which they began, each behind a line ==> RUN <==. It only grows: an offset stays valid. " +
			"A header Range: bytes=A-B reads a part of it.",
		Parameters: []*huma.Param{
			pathParam("id", "The job_execution_id."),
			queryParam("follow", "boolean", "Go on with new output until the job is final."),
			queryParam("offset", "integer", "With follow: begin at this byte. A range does so without follow."),
			queryParam("search", "string", "Answer the lines that have this text (in any case) as JSON instead."),
			queryParam("run", "string", "Of this run alone, such as playbook-0, playbook-1-device-3 (the third of the job's devices), playbook-0-try-1 or recovery-0. Lines and offsets are those of its text. With follow it goes on until the job is final."),
			queryParam("limit", "integer", "With search: at most this many lines, up to 1000 (100 where missing)."),
			{Name: "Range", In: "header", Schema: &huma.Schema{Type: "string"}, Description: "One range of bytes; not with follow or search."},
		},
		Responses: map[string]*huma.Response{
			"206": {Description: "A part of the log; Content-Range has its whole length", Content: text, Headers: size},
			"416": {Description: "The range begins behind the end; Content-Range has the whole length", Content: map[string]*huma.MediaType{
				problemType: {Schema: schemaOf(api, problem{}, "Problem")},
			}},
		},
	}, content, "The log, or with search the matches (JSON)")
}

func describeEvents(api huma.API) {
	listed := api.OpenAPI().Paths["/v1/jobs"].Get.Parameters
	params := make([]*huma.Param, 0, len(listed))
	for _, p := range listed {
		switch p.Name {
		case "limit", "cursor", "min_revision":
		default:
			params = append(params, p)
		}
	}
	params = append(params,
		&huma.Param{Name: "Last-Event-ID", In: "header", Schema: &huma.Schema{Type: "string"}, Description: "The id of the last event that was seen, or the revision of a list."},
		queryParam("last_event_id", "string", "The same, for clients that cannot set the header."))
	// The data of the events are in the document, so that clients get types.
	schemaOf(api, nodeBody{}, "Node")
	describe(api, huma.Operation{
		OperationID: "follow-events", Method: http.MethodGet, Path: "/v1/events", Tags: []string{tagJobs, tagNodes},
		Summary: "Follow changes of jobs and nodes as server-sent events",
		Description: "event: job has a JobSummary as data, event: node a Node, event: reset {\"revision\":N}: what was missed is not known any more, list again. " +
			"A job is told of when it matches the filters, or did before the change.",
		Parameters: params,
	}, map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: "string"}}}, "The events")
}

func describeContrail(api huma.API) {
	object := func(properties map[string]*huma.Schema, required ...string) *huma.Schema {
		return &huma.Schema{Type: "object", Properties: properties, Required: required, AdditionalProperties: false}
	}
	texts := &huma.Schema{Type: "array", Items: &huma.Schema{Type: "string"}}
	anyObject := &huma.Schema{Type: "object", AdditionalProperties: true}
	describe(api, huma.Operation{
		OperationID: "execute-job", Method: http.MethodPost, Path: "/execute-job", Tags: []string{tagContrail, tagJobs},
		Summary:     "Run a job of a template",
		Description: "The answer comes when the job is stored; for a template with synchronous: true when it is final (after an hour, or when the server stops, with the status that it has then).",
		Parameters: []*huma.Param{
			{Name: "on_lock", In: "query", Schema: &huma.Schema{Type: "string", Enum: []any{"wait", "fail"}}, Description: "What becomes of the job where another one holds its locks: it waits in the queue (where missing), or fails."},
			queryParam("timeout", "string", "Of the whole job, from its first playbook's begin, such as 2h; it wins over the template's."),
			queryParam("playbook_timeout", "string", "Of each run of a playbook, such as 30m; it wins over the template's, but for playbooks that must not be interrupted."),
			queryParam("queue_timeout", "string", "Of waiting for a node and for locks; it wins over the template's."),
		},
		RequestBody: jsonBody(object(map[string]*huma.Schema{
			"job_template_fq_name": texts, "job_template_id": {Type: "string"}, "input": anyObject,
			"params": object(map[string]*huma.Schema{
				"device_list":       texts,
				"transaction_id":    {Type: "string", Description: "Of the group of jobs that this one joins, or begins."},
				"transaction_descr": {Type: "string"},
			}),
		}, "input")),
	}, jsonAnswer(api, executeAnswer{}, "ExecuteAnswer"), "Accepted: the job is QUEUED, or, of a synchronous template, has ended")
	describe(api, huma.Operation{
		OperationID: "abort-job", Method: http.MethodPost, Path: "/abort-job", Tags: []string{tagContrail, tagAborts},
		Summary: "Abort jobs, or (without ids) every active job",
		Parameters: []*huma.Param{
			queryParam("wait", "string", "Answer when the jobs are final, at the latest after this time, such as 30s."),
			queryParam("dry_run", "boolean", "Only say what would be done."),
			queryParam("reason", "string", "Why."),
			queryParam("force_after", "string", "A graceful abort turns to force this long after it was first seen, such as 5m."),
			queryParam("recovery", "boolean", "false: the recovery playbooks are skipped."),
			queryParam("override", "boolean", "Kill even a playbook that is not abortable."),
		},
		RequestBody: jsonBody(object(map[string]*huma.Schema{"input": object(map[string]*huma.Schema{
			"job_execution_ids": texts, "abort_mode": {Type: "string", Enum: []any{"graceful", "force"}},
		})}, "input")),
	}, jsonAnswer(api, abortAnswer{}, "AbortAnswer"), "What became of each job")
}

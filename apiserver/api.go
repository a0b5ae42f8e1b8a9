package apiserver

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Tags of the document.
const (
	tagJobs      = "jobs"
	tagAborts    = "aborts"
	tagTemplates = "job templates"
	tagNodes     = "nodes"
	tagContrail  = "contrail"
)

// register registers the native API: what huma serves, and what it only
// describes.
func (s *Server) register(api huma.API) {
	s.registerJobs(api)
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

func pathID() *huma.Param {
	return &huma.Param{Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: "string"}, Description: "The job_execution_id."}
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
			pathID(),
			queryParam("follow", "boolean", "Go on with new output until the job is final."),
			queryParam("offset", "integer", "With follow: begin at this byte. A range does so without follow."),
			queryParam("search", "string", "Answer the lines that have this text (in any case) as JSON instead."),
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
	body := func(schema *huma.Schema) *huma.RequestBody {
		return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
	}
	texts := &huma.Schema{Type: "array", Items: &huma.Schema{Type: "string"}}
	anyObject := &huma.Schema{Type: "object", AdditionalProperties: true}
	describe(api, huma.Operation{
		OperationID: "execute-job", Method: http.MethodPost, Path: "/execute-job", Tags: []string{tagContrail, tagJobs},
		Summary: "Run a job of a template",
		RequestBody: body(object(map[string]*huma.Schema{
			"job_template_fq_name": texts, "job_template_id": {Type: "string"}, "input": anyObject,
			"params": object(map[string]*huma.Schema{"device_list": texts}),
		}, "input")),
	}, jsonAnswer(api, executeAnswer{}, "ExecuteAnswer"), "Accepted: the job is QUEUED")
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
		RequestBody: body(object(map[string]*huma.Schema{"input": object(map[string]*huma.Schema{
			"job_execution_ids": texts, "abort_mode": {Type: "string", Enum: []any{"graceful", "force"}},
		})}, "input")),
	}, jsonAnswer(api, abortAnswer{}, "AbortAnswer"), "What became of each job")
}

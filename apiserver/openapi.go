package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"quell"
)

// The native API is described by huma: the OpenAPI document and the checks of
// parameters come from the same types. Bodies are read by this package's own
// strict parsing, since huma's takes what quell.ParseObject refuses.
//
// Two of huma's settings are its own globals. They are set once, here, before
// anything runs.
func init() {
	huma.NewError = humaProblem
	huma.DefaultArrayNullable = false // lists are never null here
}

// humaProblem makes the problem document of what huma found wrong itself.
func humaProblem(status int, message string, errs ...error) huma.StatusError {
	var coded *quell.Error
	for _, err := range errs {
		if errors.As(err, &coded) {
			p := newProblem(coded)
			return &p
		}
	}
	code := quell.CodeInvalid
	switch {
	case status == http.StatusRequestEntityTooLarge:
		code, message = quell.CodeTooLarge, fmt.Sprintf("the request body is larger than %d bytes", maxBody)
	case status >= http.StatusInternalServerError:
		code = quell.CodeInternal
	}
	texts := make([]string, 0, len(errs))
	for _, err := range errs {
		var detail *huma.ErrorDetail
		if errors.As(err, &detail) {
			texts = append(texts, placeOf(detail))
		}
	}
	if len(texts) > 0 {
		message = strings.Join(texts, "; ")
	}
	if code == quell.CodeInternal {
		message = quell.MessageOf(errors.New(message))
	}
	p := newProblem(quell.Errorf(code, "%s", message))
	return &p
}

// placeOf says in words what huma says as query.limit.
func placeOf(d *huma.ErrorDetail) string {
	kind, name, _ := strings.Cut(d.Location, ".")
	switch kind {
	case "query":
		kind = "the query parameter"
	case "header":
		kind = "the header"
	}
	text := kind + " " + excerpt(name)
	if v, ok := d.Value.(string); ok && v != "" {
		text += fmt.Sprintf("=%q", excerpt(v))
	} else if d.Value != nil && d.Value != "" {
		text += fmt.Sprintf("=%v", d.Value)
	}
	return text + ": " + d.Message
}

// Error is the detail.
func (p *problem) Error() string { return p.Detail }

// GetStatus is for huma.
func (p *problem) GetStatus() int { return p.Status }

// ContentType is for huma.
func (p *problem) ContentType(string) string { return problemType }

// GetHeaders is for huma.
func (p *problem) GetHeaders() http.Header {
	if p.Status == http.StatusServiceUnavailable {
		return http.Header{"Retry-After": {"1"}}
	}
	return nil
}

// router is where routes are registered; it counts them.
type router struct{ *http.ServeMux }

// HandleFunc is for huma.
func (m router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	m.Handle(pattern, counted(pattern, http.HandlerFunc(handler)))
}

// newAPI makes an API without routes.
func newAPI(mux humago.Mux) huma.API {
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Quell", Version: "v1",
				Description: "Runs multi-playbook Ansible jobs on a cluster and stops any of them, at any time. " +
					"Every error is a problem document (RFC 9457) with a code. " +
					"Lists and events come from a cache that says how old it is (" + headerCacheAge + ").",
			},
			Components: &huma.Components{Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName)},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
	return humago.New(mux, config)
}

// schemaName drops what only tells wire structs from the domain's in Go.
func schemaName(t reflect.Type, hint string) string {
	switch t {
	case reflect.TypeFor[summaryBody](), reflect.TypeFor[*summaryBody]():
		return "JobSummary"
	case reflect.TypeFor[quell.Template]():
		return "JobTemplate"
	case reflect.TypeFor[quell.Playbook]():
		return "JobTemplatePlaybook"
	}
	return strings.TrimSuffix(huma.DefaultSchemaNamer(t, hint), "Body")
}

// Request is the part of every operation's input that keeps the HTTP request,
// and that refuses parameters that are repeated where they are not lists.
type Request struct {
	http *http.Request
}

// Resolve is called by huma before the handler.
func (r *Request) Resolve(c huma.Context) []error {
	r.http, _ = humago.Unwrap(c)
	for name, list := range r.http.URL.Query() {
		if len(list) > 1 && !isList(c.Operation(), name) {
			return []error{invalid("the query parameter %q is repeated", excerpt(name))}
		}
		if slices.Contains(list, "") { // huma takes it for a missing one
			return []error{invalid("the query parameter %q is empty: leave it out", excerpt(name))}
		}
	}
	return nil
}

func isList(op *huma.Operation, name string) bool {
	for _, p := range op.Parameters {
		if p.In == "query" && p.Name == name {
			return p.Schema != nil && p.Schema.Type == huma.TypeArray
		}
	}
	return false
}

// operation registers one typed operation. Its errors are problem documents.
func operation[I, O any](s *Server, api huma.API, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	op.MaxBodyBytes, op.BodyReadTimeout = maxBody, bodyTimeout
	op.Middlewares = huma.Middlewares{prepare}
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			p := newProblem(err)
			s.logProblem(ctx, op.Method, op.Path, err, p)
			return nil, &p
		}
		return out, nil
	})
}

// prepare sets what holds for every answer.
func prepare(c huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(c)
	w.Header().Set("Cache-Control", "no-store")
	// A client that does not take its answer must not hold the request for ever.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(storeTimeout + bodyTimeout + answerTimeout))
	// A query that cannot be read must not lose a filter or a dry_run.
	if _, err := parseQuery(r); err != nil {
		p := newProblem(err)
		c.SetHeader("Content-Type", problemType)
		c.SetStatus(p.Status)
		_ = json.NewEncoder(c.BodyWriter()).Encode(p)
		return
	}
	next(c)
}

// describeBody replaces what the document says of a body that is read raw.
func describeBody(api huma.API, item *huma.Operation, of any, hint string) {
	item.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: schemaOf(api, of, hint)},
	}}
}

func schemaOf(api huma.API, of any, hint string) *huma.Schema {
	return api.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(of), true, hint)
}

// nullable says of properties whose values are objects that they may be null.
func nullable(s *huma.Schema, names ...string) *huma.Schema {
	for _, name := range names {
		p := s.Properties[name]
		s.Properties[name] = &huma.Schema{
			AnyOf: []*huma.Schema{{Ref: p.Ref}, {Type: "null"}}, Description: p.Description,
		}
	}
	return s
}

// OpenAPI is the document that a server has at /openapi.json.
func OpenAPI() ([]byte, error) {
	s := &Server{}
	api := newAPI(router{http.NewServeMux()})
	s.register(api)
	return document(api)
}

func document(api huma.API) ([]byte, error) {
	text, err := json.MarshalIndent(api.OpenAPI(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return append(text, '\n'), nil
}

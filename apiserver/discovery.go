package apiserver

import (
	"context"
	"net"
	"net/http"
	"time"

	"quell"
	"quell/internal/template"
)

// discoveryBody is what clients of Contrail fetch first. They remove the href
// of the whole from that of a link, so that all must begin alike.
type discoveryBody struct {
	Href  string          `json:"href"`
	Links []discoveryItem `json:"links"`
}

type discoveryItem struct {
	Link discoveryLink `json:"link"`
}

type discoveryLink struct {
	Rel    string `json:"rel"`
	Name   string `json:"name"`
	Href   string `json:"href"`
	Method string `json:"method"`
}

// service is a link that Contrail does not know.
func service(base, name, method, path string) discoveryItem {
	return discoveryItem{discoveryLink{Rel: "service", Name: name, Href: base + path, Method: method}}
}

func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	base := baseURL(r)
	s.answer(w, r, discoveryBody{Href: base, Links: []discoveryItem{
		{discoveryLink{Rel: "action", Name: "execute-job", Href: base + "/execute-job", Method: http.MethodPost}},
		{discoveryLink{Rel: "action", Name: "abort-job", Href: base + "/abort-job", Method: http.MethodPost}},
		service(base, "v1", http.MethodGet, "/v1"),
		service(base, "openapi", http.MethodGet, "/openapi.json"),
		service(base, "job-template-schema", http.MethodGet, "/schemas/job-template.json"),
	}})
}

func (s *Server) discoveryV1(w http.ResponseWriter, r *http.Request) {
	body := discoveryBody{Href: baseURL(r) + "/v1"}
	for _, l := range []struct{ name, method, path string }{
		{"jobs", http.MethodGet, "/jobs"},
		{"job", http.MethodGet, "/jobs/{id}"},
		{"job-log", http.MethodGet, "/jobs/{id}/log"},
		{"job-abort", http.MethodGet, "/jobs/{id}/abort"},
		{"put-job-abort", http.MethodPut, "/jobs/{id}/abort"},
		{"delete-job-abort", http.MethodDelete, "/jobs/{id}/abort"},
		{"resume-job", http.MethodPost, "/jobs/{id}/resume"},
		{"rerun-job", http.MethodPost, "/jobs/{id}/rerun"},
		{"aborts", http.MethodPost, "/aborts"},
		{"transactions", http.MethodGet, "/transactions"},
		{"transaction", http.MethodGet, "/transactions/{id}"},
		{"abort-transaction", http.MethodPost, "/transactions/{id}/abort"},
		{"events", http.MethodGet, "/events"},
		{"nodes", http.MethodGet, "/nodes"},
		{"job-templates", http.MethodGet, "/job-templates"},
		{"job-template", http.MethodGet, "/job-templates/{fq_name}"},
		{"put-job-template", http.MethodPut, "/job-templates/{fq_name}"},
		{"delete-job-template", http.MethodDelete, "/job-templates/{fq_name}"},
	} {
		body.Links = append(body.Links, service(body.Href, l.name, l.method, l.path))
	}
	s.answer(w, r, body)
}

// baseURL is the scheme, host and port that the request used.
func baseURL(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if host == "" { // HTTP/1.0 need not name one
		if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			host = addr.String()
		}
	}
	return scheme + "://" + host
}

func (s *Server) getOpenAPI(w http.ResponseWriter, _ *http.Request) {
	sendDocument(w, "application/openapi+json", s.openAPI)
}

// schemaType is the content type of a JSON Schema.
const schemaType = "application/schema+json"

// getTemplateSchema is for editors, which check template files by it.
func (s *Server) getTemplateSchema(w http.ResponseWriter, _ *http.Request) {
	sendDocument(w, schemaType, template.Schema())
}

func sendDocument(w http.ResponseWriter, contentType string, document []byte) {
	w.Header().Set("Content-Type", contentType)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	_, _ = w.Write(document)
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, map[string]string{"status": "ok"})
}

// readyz says whether requests can be carried out now.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if err := s.Ready(r.Context()); err != nil {
		s.fail(w, r, err)
		return
	}
	s.answer(w, r, map[string]string{"status": "ok"})
}

// Ready says why the server cannot serve as it should now, if so: it stops,
// etcd is out of reach, or what it knows of the jobs is behind.
func (s *Server) Ready(ctx context.Context) error {
	if s.stopping.Err() != nil {
		return quell.Errorf(quell.CodeUnavailable, "the API server is stopping")
	}
	_, err := read(ctx, pingTimeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.Ping(ctx)
	})
	if err != nil {
		return unready("etcd is out of reach", err)
	}
	if err := s.store.Healthy(); err != nil {
		return unready("a watch is behind", err)
	}
	if err := s.cache.ready(); err != nil {
		return unready("the cache of jobs", err)
	}
	return nil
}

// unready makes every reason a 503.
func unready(what string, err error) error {
	return &quell.Error{Code: quell.CodeUnavailable, Message: "not ready: " + what + ": " + quell.MessageOf(err), Err: err}
}

package apiserver

import (
	"context"
	"net"
	"net/http"
	"time"

	"quell"
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

func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	base := baseURL(r)
	s.answer(w, r, discoveryBody{Href: base, Links: []discoveryItem{
		{discoveryLink{Rel: "action", Name: "execute-job", Href: base + "/execute-job", Method: http.MethodPost}},
		{discoveryLink{Rel: "action", Name: "abort-job", Href: base + "/abort-job", Method: http.MethodPost}},
		{discoveryLink{Rel: "service", Name: "v1", Href: base + "/v1", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "openapi", Href: base + "/openapi.json", Method: http.MethodGet}},
	}})
}

func (s *Server) discoveryV1(w http.ResponseWriter, r *http.Request) {
	base := baseURL(r) + "/v1"
	s.answer(w, r, discoveryBody{Href: base, Links: []discoveryItem{
		{discoveryLink{Rel: "service", Name: "jobs", Href: base + "/jobs", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "job", Href: base + "/jobs/{id}", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "job-log", Href: base + "/jobs/{id}/log", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "job-abort", Href: base + "/jobs/{id}/abort", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "put-job-abort", Href: base + "/jobs/{id}/abort", Method: http.MethodPut}},
		{discoveryLink{Rel: "service", Name: "delete-job-abort", Href: base + "/jobs/{id}/abort", Method: http.MethodDelete}},
		{discoveryLink{Rel: "service", Name: "events", Href: base + "/events", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "nodes", Href: base + "/nodes", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "job-templates", Href: base + "/job-templates", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "job-template", Href: base + "/job-templates/{fq_name}", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "put-job-template", Href: base + "/job-templates/{fq_name}", Method: http.MethodPut}},
		{discoveryLink{Rel: "service", Name: "delete-job-template", Href: base + "/job-templates/{fq_name}", Method: http.MethodDelete}},
	}})
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
	w.Header().Set("Content-Type", "application/openapi+json")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	_, _ = w.Write(s.openAPI)
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

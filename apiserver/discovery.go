package apiserver

import (
	"context"
	"net"
	"net/http"

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
	}})
}

func (s *Server) discoveryV1(w http.ResponseWriter, r *http.Request) {
	base := baseURL(r) + "/v1"
	s.answer(w, r, discoveryBody{Href: base, Links: []discoveryItem{
		{discoveryLink{Rel: "service", Name: "jobs", Href: base + "/jobs", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "job", Href: base + "/jobs/{id}", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "job-log", Href: base + "/jobs/{id}/log", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "job-template", Href: base + "/job-templates/{fq_name}", Method: http.MethodGet}},
		{discoveryLink{Rel: "service", Name: "put-job-template", Href: base + "/job-templates/{fq_name}", Method: http.MethodPut}},
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

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, map[string]string{"status": "ok"})
}

// readyz says whether requests can be carried out now.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.stopping.Err() != nil {
		s.fail(w, r, quell.Errorf(quell.CodeUnavailable, "the API server is stopping"))
		return
	}
	_, err := read(r.Context(), pingTimeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.Ping(ctx)
	})
	if err != nil {
		s.fail(w, r, unready("etcd is out of reach", err))
		return
	}
	if err := s.store.Healthy(); err != nil {
		s.fail(w, r, unready("a watch is behind", err))
		return
	}
	s.answer(w, r, map[string]string{"status": "ok"})
}

// unready makes every reason a 503.
func unready(what string, err error) error {
	return &quell.Error{Code: quell.CodeUnavailable, Message: "not ready: " + what + ": " + quell.MessageOf(err), Err: err}
}

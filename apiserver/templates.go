package apiserver

import (
	"context"
	"net/http"
	"strconv"

	"quell"
	"quell/internal/template"
)

// storedTemplate is a job template and its revision.
type storedTemplate struct {
	template quell.Template
	revision int64
}

func (s *Server) getTemplate(w http.ResponseWriter, r *http.Request) {
	name, err := templateName(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	stored, err := read(r.Context(), s.opts.StoreTimeout, func(ctx context.Context) (stored storedTemplate, err error) {
		stored.template, stored.revision, err = s.store.Template(ctx, name)
		return stored, err
	})
	s.answerTemplate(w, r, stored, err)
}

func (s *Server) putTemplate(w http.ResponseWriter, r *http.Request) {
	t, err := readTemplate(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	stored, err := write(r.Context(), s.opts.StoreTimeout, func(ctx context.Context) (storedTemplate, error) {
		revision, err := s.store.PutTemplate(ctx, t)
		return storedTemplate{t, revision}, err
	})
	if err == nil {
		s.log.Info("job template stored", keyTemplate, t.FQName.String(), keyClient, r.RemoteAddr)
	}
	s.answerTemplate(w, r, stored, err)
}

func (s *Server) answerTemplate(w http.ResponseWriter, r *http.Request, stored storedTemplate, err error) {
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("ETag", strconv.Quote(strconv.FormatInt(stored.revision, 10)))
	s.answer(w, r, stored.template)
}

// readTemplate reads and checks the template of a PUT.
func readTemplate(w http.ResponseWriter, r *http.Request) (quell.Template, error) {
	name, err := templateName(r)
	if err != nil {
		return quell.Template{}, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return quell.Template{}, err
	}
	return template.ReadNamed("the request body", body, name)
}

// templateName is the fq_name in the path.
func templateName(r *http.Request) (quell.FQName, error) {
	if _, err := checkQuery(r); err != nil {
		return nil, err
	}
	return quell.ParseFQName(r.PathValue("fq_name"))
}

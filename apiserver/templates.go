package apiserver

import (
	"context"
	"strconv"

	"quell"
	"quell/internal/template"
)

// TemplateName is the part of an operation's input that names a template.
type TemplateName struct {
	FQName string `path:"fq_name" doc:"The parts of the fq_name, joined with ':'."`
}

type templateInput struct {
	Request
	TemplateName
}

type templateOutput struct {
	ETag     string `header:"ETag"`
	Revision string `header:"X-Quell-Revision" doc:"Of the store, when the template was stored."`
	Body     quell.Template
}

func newTemplateOutput(stored quell.StoredTemplate) *templateOutput {
	revision := strconv.FormatInt(stored.Revision, 10)
	return &templateOutput{ETag: strconv.Quote(revision), Revision: revision, Body: stored.Template}
}

func (s *Server) getTemplate(ctx context.Context, in *templateInput) (*templateOutput, error) {
	name, err := quell.ParseFQName(in.FQName)
	if err != nil {
		return nil, err
	}
	stored, err := read(ctx, s.opts.StoreTimeout, func(ctx context.Context) (stored quell.StoredTemplate, err error) {
		stored.Template, stored.Revision, err = s.store.Template(ctx, name)
		return stored, err
	})
	if err != nil {
		return nil, err
	}
	return newTemplateOutput(stored), nil
}

type putTemplateInput struct {
	Request
	TemplateName
	DryRun  bool `query:"dry_run" doc:"Only check it, and answer what would be stored."`
	RawBody []byte
}

func (s *Server) putTemplate(ctx context.Context, in *putTemplateInput) (*templateOutput, error) {
	name, err := quell.ParseFQName(in.FQName)
	if err != nil {
		return nil, err
	}
	t, err := template.ReadNamed("the request body", in.RawBody, name)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return &templateOutput{Body: t}, nil
	}
	stored, err := write(ctx, s.opts.StoreTimeout, func(ctx context.Context) (quell.StoredTemplate, error) {
		revision, err := s.store.PutTemplate(ctx, t)
		return quell.StoredTemplate{Template: t, Revision: revision}, err
	})
	if err != nil {
		return nil, err
	}
	s.wrote(stored.Revision)
	s.log.Info("job template stored", keyTemplate, t.FQName.String(), keyClient, in.http.RemoteAddr)
	return newTemplateOutput(stored), nil
}

type deletedOutput struct {
	Revision string `header:"X-Quell-Revision" doc:"Of the store, after this."`
}

func (s *Server) deleteTemplate(ctx context.Context, in *templateInput) (*deletedOutput, error) {
	name, err := quell.ParseFQName(in.FQName)
	if err != nil {
		return nil, err
	}
	revision, err := write(ctx, s.opts.StoreTimeout, func(ctx context.Context) (int64, error) {
		return s.store.DeleteTemplate(ctx, name)
	})
	if err != nil {
		return nil, err
	}
	s.wrote(revision)
	s.log.Info("job template deleted", keyTemplate, name.String(), keyClient, in.http.RemoteAddr)
	return &deletedOutput{Revision: strconv.FormatInt(revision, 10)}, nil
}

type templatesInput struct {
	Request
}

type templatesOutput struct {
	Body templateList
}

// listTemplates reads the store: there are few of them.
func (s *Server) listTemplates(ctx context.Context, _ *templatesInput) (*templatesOutput, error) {
	stored, err := read(ctx, s.opts.StoreTimeout, s.store.Templates)
	if err != nil {
		return nil, err
	}
	list := make([]templateBrief, 0, len(stored))
	for _, t := range stored {
		name := t.Template.FQName
		list = append(list, templateBrief{
			FQName: name, Name: name[len(name)-1], DisplayName: t.Template.DisplayName, Revision: t.Revision,
			UUID: templateID(t.Template),
		})
	}
	return &templatesOutput{Body: templateList{Templates: list}}, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"quell"
	"quell/internal/template"
)

func templateCommand(signals <-chan os.Signal) *cli.Command {
	return group("template", "load and look at job templates",
		templateApplyCommand(signals), templateValidateCommand(), templateListCommand(signals),
		templateShowCommand(signals), templateDeleteCommand(signals), templateSchemaCommand())
}

// resolveTemplate returns the template that the user names: by its fq_name
// joined with ':', by its last part where that is one's alone, or by its
// job_template_id.
func (s *session) resolveTemplate(ctx context.Context, typed string) (quell.FQName, error) {
	name, err := quell.ParseFQName(typed)
	if err != nil {
		return nil, usagef("%s", quell.MessageOf(err))
	}
	if len(name) > 1 {
		return name, nil
	}
	list, _, err := s.templates(ctx)
	if err != nil {
		return nil, err
	}
	var candidates []quell.FQName
	for _, t := range list {
		if lastPart(t.FQName) == typed || t.UUID != "" && strings.EqualFold(t.UUID, typed) {
			candidates = append(candidates, t.FQName)
		}
	}
	switch len(candidates) {
	case 0:
		return nil, fmt.Errorf("there is no job template %q: quell template list shows them", typed)
	case 1:
		return candidates[0], nil
	}
	text := fmt.Sprintf("%q is the last part, or the id, of several job templates: name one of them whole", typed)
	for _, c := range candidates {
		text += "\n  " + printable(c.String())
	}
	return nil, usageError{errors.New(text)}
}

// templates lists all job templates, in the order of their names.
func (s *session) templates(ctx context.Context) ([]templateEntry, answer, error) {
	var list templateList
	a, err := s.api.get(ctx, &list, "v1", "job-templates")
	slices.SortFunc(list.Templates, func(a, b templateEntry) int {
		return strings.Compare(a.FQName.String(), b.FQName.String())
	})
	return list.Templates, a, err
}

// askTemplate makes a request about one job template.
func (s *session) askTemplate(ctx context.Context, method string, name quell.FQName, body []byte) (answer, error) {
	return s.api.ask(ctx, request{method: method, path: []string{"v1", "job-templates", name.String()}, body: body})
}

// templateSource is a template file that was read.
type templateSource struct {
	path string
	template.File
}

// readTemplates reads template files, all of them before anything is done
// with one; a file that is named twice is read once. What is wrong in a file
// is no wrong usage.
func readTemplates(paths []string) ([]templateSource, error) {
	var files []templateSource
	var problems []error
	from := map[string]string{}
	for _, path := range paths {
		if slices.ContainsFunc(files, func(f templateSource) bool { return f.path == path }) {
			continue
		}
		file, err := template.ReadFile(path)
		if err != nil {
			problems = append(problems, err)
		}
		files = append(files, templateSource{path, file})
		for _, t := range file.Templates {
			if first, repeated := from[t.FQName.String()]; repeated {
				problems = append(problems, fmt.Errorf("%s: the job template %s is in %s, too", path, t.FQName, first))
			}
			from[t.FQName.String()] = path
		}
	}
	if len(problems) > 0 {
		return nil, exitError{exitFailure, errors.Join(problems...)}
	}
	return files, nil
}

// tellSkipped says on standard error what of the files is no job template.
func tellSkipped(w io.Writer, files []templateSource) {
	for _, f := range files {
		for _, line := range f.Skipped {
			fmt.Fprintln(w, "quell: "+printable(line))
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
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
		templateShowCommand(signals), templateDeleteCommand(signals))
}

// resolveTemplate returns the template that the user names: by its fq_name
// joined with ':', or by its last part where that is one's alone.
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
		if lastPart(t.FQName) == typed {
			candidates = append(candidates, t.FQName)
		}
	}
	switch len(candidates) {
	case 0:
		return nil, fmt.Errorf("there is no job template %q: quell template list shows them", typed)
	case 1:
		return candidates[0], nil
	}
	text := fmt.Sprintf("%q is the last part of several job templates: name one of them whole", typed)
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

// readTemplates reads template files, all of them before anything is done
// with one. What is wrong in a file is no wrong usage.
func readTemplates(paths []string) (map[string][]quell.Template, error) {
	files := map[string][]quell.Template{}
	var problems []error
	from := map[string]string{}
	for _, path := range paths {
		if _, again := files[path]; again {
			continue
		}
		list, err := template.ReadFile(path)
		if err != nil {
			problems = append(problems, err)
		}
		files[path] = list
		for _, t := range list {
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

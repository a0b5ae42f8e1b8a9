package main

import (
	"context"
	"net/http"
)

// pages shows a list that the API gives in pages: one, or all of them. add
// adds a page's rows to the table and returns the cursor of the next one.
func (s *session) pages(ctx context.Context, t *table, path []string, add func(answer) (string, error)) error {
	query, err := listQuery(s.c, s.now())
	if err != nil {
		return err
	}
	for {
		a, err := s.api.ask(ctx, request{method: http.MethodGet, path: path, query: query})
		if err != nil {
			return err
		}
		next, err := add(a)
		if err != nil {
			return err
		}
		if s.json {
			if err := s.verbatim(a.body); err != nil {
				return err
			}
		}
		if next != "" && s.c.Bool("all") {
			query.Set("cursor", next)
			continue
		}
		if s.json {
			return nil
		}
		if err := t.print(s.out); err != nil {
			return err
		}
		if next != "" {
			s.notef("there are more: --all, or --cursor %s for the next page", next)
		}
		return nil
	}
}

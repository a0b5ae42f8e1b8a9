package main

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"quell"
)

// filterNames are the flags that choose jobs, as the API calls them.
var filterNames = []string{"status", "fabric", "device", "node", "template", "requester", "transaction", "since", "until"}

// filterFlags are the flags that choose jobs; what says what is done with
// those that are chosen, such as "only jobs".
func filterFlags(what string) []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "status", Usage: what + " of this `STATUS`; several separated by commas"},
		&cli.GenericFlag{Name: "fabric", Value: &texts{}, Usage: what + " of this `FABRIC`"},
		&cli.GenericFlag{Name: "device", Value: &texts{}, Usage: what + " of this `DEVICE`"},
		&cli.GenericFlag{Name: "node", Value: &texts{}, Usage: what + " on this `NODE`"},
		&cli.GenericFlag{Name: "template", Value: &texts{}, Usage: what + " of this `TEMPLATE`"},
		&cli.GenericFlag{Name: "requester", Value: &texts{}, Usage: what + " that this `USER` started"},
		&cli.GenericFlag{Name: "transaction", Value: &texts{}, Usage: what + " of the transaction with this `ID`"},
		&cli.GenericFlag{Name: "since", Value: &texts{}, Usage: what + " created at this `TIME` or later: 2026-01-31, 2026-01-31 15:04, RFC 3339, or so long ago: 90m, 7d"},
		&cli.GenericFlag{Name: "until", Value: &texts{}, Usage: what + " created before this `TIME`"},
	}
}

// pageFlags are those of a command that lists something in pages.
func pageFlags(what string) []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "limit", Usage: "show at most `N` " + what + " (a page)", DefaultText: "50"},
		&cli.StringFlag{Name: "cursor", Usage: "the page after the one that gave this `CURSOR`"},
		&cli.BoolFlag{Name: "all", Usage: "all pages (with --output json: a document each)"},
	}
}

// readFilters makes the API's filters of the flags that were given.
func readFilters(c *cli.Context, now time.Time) (url.Values, error) {
	query := url.Values{}
	for _, name := range filterNames {
		if !c.IsSet(name) {
			continue
		}
		if given := textsOf(c, name); len(given) > 1 {
			return nil, usagef("--%s is given %d times: give it once", name, len(given))
		}
		switch name {
		case "status":
			statuses, err := readStatuses(c.StringSlice(name))
			if err != nil {
				return nil, err
			}
			query.Set(name, strings.Join(statuses, ","))
		case "since", "until":
			at, err := readTime(c.String(name), now)
			if err != nil {
				return nil, usagef("--%s %w", name, err)
			}
			query.Set(name, at.UTC().Format(time.RFC3339Nano))
		default:
			if err := copyText(c, query, name); err != nil {
				return nil, err
			}
		}
	}
	return query, nil
}

// listQuery makes the query of a list of the flags.
func listQuery(c *cli.Context, now time.Time) (url.Values, error) {
	query, err := readFilters(c, now)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"text", "cursor"} {
		if err := copyText(c, query, name); err != nil {
			return nil, err
		}
	}
	if c.IsSet("limit") {
		if c.Int("limit") < 1 {
			return nil, usagef("--limit %d is not above zero", c.Int("limit"))
		}
		query.Set("limit", strconv.Itoa(c.Int("limit")))
	}
	return query, nil
}

// copyText takes a flag into the query. One that is given empty (an unset
// variable?) would be as good as none, and is refused.
func copyText(c *cli.Context, query url.Values, name string) error {
	switch {
	case !c.IsSet(name):
	case strings.TrimSpace(c.String(name)) == "":
		return usagef("--%s is empty", name)
	default:
		query.Set(name, c.String(name))
	}
	return nil
}

func readStatuses(given []string) ([]string, error) {
	statuses := make([]string, len(given))
	for i, word := range given {
		status := quell.Status(strings.ToUpper(strings.TrimSpace(word)))
		if !slices.Contains(quell.Statuses, status) {
			return nil, usagef("--status %q is none of %v", word, quell.Statuses)
		}
		statuses[i] = string(status)
	}
	return statuses, nil
}

// readTime reads a time as people write it.
func readTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time such as 2026-01-31, 2026-01-31 15:04, 2026-01-31T15:04:05Z or, so long ago, 90m or 7d", text)
}

package apiserver

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"quell"
)

// inQuery is what errors call the parameters of a query.
const inQuery = "the query parameter "

// compile checks the filter and makes one function of it. where is what goes
// in front of a property's name in errors.
func (f *Filter) compile(now time.Time, where string) (func(*summaryBody) bool, error) {
	var all []func(*summaryBody) bool
	add := func(matches func(*summaryBody) bool) { all = append(all, matches) }
	statuses, err := parseStatuses(where, f.Status, quell.Statuses)
	if err != nil {
		return nil, err
	}
	if len(statuses) > 0 {
		add(func(b *summaryBody) bool { return slices.Contains(statuses, b.Status) })
	}
	if f.Fabric != "" {
		add(func(b *summaryBody) bool { return b.Fabric != nil && named(*b.Fabric, f.Fabric) })
	}
	if f.Device != "" {
		device := hash(f.Device)
		add(func(b *summaryBody) bool { return slices.Contains(b.devices, device) })
	}
	if f.Node != "" {
		add(func(b *summaryBody) bool { return b.Node == f.Node })
	}
	if f.Template != "" {
		add(func(b *summaryBody) bool { return named(b.Template.String(), f.Template) })
	}
	if f.Requester != "" {
		add(func(b *summaryBody) bool {
			return b.Requester == f.Requester || strings.HasPrefix(b.Requester, f.Requester+" (")
		})
	}
	if f.Transaction != "" {
		add(func(b *summaryBody) bool { return b.TransactionID == f.Transaction })
	}
	since, until, err := parsePeriod(where, f.Since, f.Until, now)
	if err != nil {
		return nil, err
	}
	if f.Since != "" {
		add(func(b *summaryBody) bool { return !b.CreatedAt.Before(since) })
	}
	if f.Until != "" {
		add(func(b *summaryBody) bool { return b.CreatedAt.Before(until) })
	}
	if f.Text != "" {
		text := strings.ToLower(f.Text)
		add(func(b *summaryBody) bool { return b.holds(text) })
	}
	return func(b *summaryBody) bool {
		for _, matches := range all {
			if !matches(b) {
				return false
			}
		}
		return true
	}, nil
}

// named says whether a joined name is meant by the whole of it or its last part.
func named(name, wanted string) bool { return name == wanted || lastPart(name) == wanted }

// parseStatuses reads words that are statuses among the known ones.
func parseStatuses(where string, lists []string, known []quell.Status) ([]quell.Status, error) {
	var statuses []quell.Status
	for _, list := range lists {
		for word := range strings.SplitSeq(list, ",") {
			status := quell.Status(strings.ToUpper(strings.TrimSpace(word)))
			if !slices.Contains(known, status) {
				return nil, invalid("%sstatus=%q is none of %v", where, excerpt(word), known)
			}
			statuses = append(statuses, status)
		}
	}
	return statuses, nil
}

// parsePeriod reads a begin and an end, which are zero where they are missing.
func parsePeriod(where, from, to string, now time.Time) (since, until time.Time, err error) {
	if since, err = parseMoment(where+"since", from, now); err == nil {
		until, err = parseMoment(where+"until", to, now)
	}
	return since, until, err
}

// parseMoment reads a time, or how long ago it was.
func parseMoment(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 && n < 1e5 {
			return now.Add(-time.Duration(n * float64(24*time.Hour))), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, invalid("%s=%q is neither a time as in RFC 3339 nor how long ago, such as 90s, 2h or 7d", name, excerpt(text))
}

// holds says whether one of the texts of the job has this one, which is in
// lower case.
func (b *summaryBody) holds(text string) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	for _, s := range []string{b.ID, b.DisplayName, b.Node, b.Requester, b.Reason, b.Template.String(), b.TransactionID} {
		if has(s) {
			return true
		}
	}
	return b.TransactionDescr != nil && has(*b.TransactionDescr) || b.Fabric != nil && has(*b.Fabric) || slices.ContainsFunc(b.DeviceIDs, has)
}

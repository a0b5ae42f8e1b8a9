package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"quell"
)

// table prints aligned columns. text/tabwriter would count colours as text.
type table struct {
	paint painter
	rows  [][]cell
}

// cell is a text and its colour.
type cell struct {
	text   string
	colour colour
}

func newTable(p painter, headings ...string) *table {
	t := &table{paint: p}
	row := make([]cell, len(headings))
	for i, h := range headings {
		row[i] = cell{h, bold}
	}
	t.rows = append(t.rows, row)
	return t
}

// add adds a row of texts and cells.
func (t *table) add(values ...any) {
	row := make([]cell, len(values))
	for i, v := range values {
		c, ok := v.(cell)
		if !ok {
			c = cell{text: fmt.Sprint(v)}
		}
		c.text = strings.ReplaceAll(printable(c.text), "\n", " ")
		if c.text == "" {
			c.text = "-"
		}
		row[i] = c
	}
	t.rows = append(t.rows, row)
}

func (t *table) print(w io.Writer) error {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var out strings.Builder
	for _, row := range t.rows {
		for i, c := range row {
			out.WriteString(t.paint.in(c.colour, c.text))
			if i < len(row)-1 {
				out.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// painter colours text, or does not.
type painter bool

type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	cyan   colour = "36"
)

func (p painter) in(c colour, text string) string {
	if !p || c == plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// statusCell shows the status of a job or a playbook.
func statusCell[S ~string](status S) cell {
	c := cell{text: string(status)}
	switch string(status) {
	case string(quell.StatusSuccess):
		c.colour = green
	case string(quell.StatusFailure), string(quell.StatusLost):
		c.colour = red
	case string(quell.StatusWarning), string(quell.StatusAborted), string(quell.StatusAborting),
		string(quell.StatusRecovering), string(quell.PlaybookInterrupted):
		c.colour = yellow
	case string(quell.StatusInProgress), string(quell.StatusStarting), string(quell.PlaybookRunning):
		c.colour = cyan
	}
	return c
}

// clock shows a time as the user's clock has it.
func clock(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// took shows how long something has taken, up to now where it has not ended.
func took(from, to *time.Time, now time.Time) string {
	if from == nil {
		return ""
	}
	if to == nil {
		to = &now
	}
	return span(to.Sub(*from))
}

// span shows a length of time, as exact as it is of interest.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
	default:
		d = d.Round(time.Minute)
	}
	if text, whole := strings.CutSuffix(d.String(), "m0s"); whole {
		return text + "m"
	}
	return d.String()
}

func percent(p float64) string { return fmt.Sprintf("%.0f%%", p) }

// count says how many there are of something.
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// quote writes a text as a shell takes it for one word.
func quote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/@%+=,", r)
	}
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/urfave/cli/v2"
)

func jobLogsCommand(signals <-chan os.Signal) *cli.Command {
	flags := []cli.Flag{
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the job has ended"},
		&cli.StringFlag{Name: "search", Usage: "print only the lines with this `TEXT`, and their numbers"},
		&cli.StringFlag{Name: "run", Usage: "only the log of the run with this `NAME`: playbook-0 is the first playbook, playbook-0-device-2 the same on the second device, recovery-0 the first recovery playbook"},
	}
	return clientCommand(signals, "logs", "print a job's log", args{usage: "ID", min: 1, max: 1}, flags,
		func(ctx context.Context, s *session) error {
			id := s.c.Args().First()
			if s.c.IsSet("run") && s.c.String("run") == "" {
				return usagef("--run is empty")
			}
			switch search := s.c.IsSet("search"); {
			case search && s.c.Bool("follow"):
				return usagef("--search is of what the log has now, --follow of what comes: give one of them")
			case search:
				return s.searchLog(ctx, id, s.c.String("search"))
			case s.json:
				return usagef("a log is text: --output json is for --search and the other commands")
			}
			if s.c.Bool("follow") {
				_, err := s.followLog(ctx, id, s.out)
				return s.leftRunning(err, id)
			}
			log := logReader{session: s, id: id, run: s.c.String("run"), to: s.out}
			return s.leftRunning(log.read(ctx), id)
		})
}

// logReader copies a job's log, and knows how much of it has come.
type logReader struct {
	session *session
	id      string
	run     string // the name of a run; "": all of them
	follow  bool
	to      io.Writer
	have    int64 // bytes
}

// runOfLog is the query for the log of a run, or of all of them.
func runOfLog(name string) url.Values {
	if name == "" {
		return url.Values{}
	}
	return url.Values{"run": {name}}
}

// takeError says that the log's reader takes no more.
type takeError struct{ error }

// read copies what has not come yet.
func (l *logReader) read(ctx context.Context) error {
	r := request{method: http.MethodGet, path: []string{"v1", "jobs", l.id, "log"}, query: runOfLog(l.run), header: http.Header{}}
	switch {
	case l.follow:
		r.query.Set("follow", "true")
		r.query.Set("offset", strconv.FormatInt(l.have, 10))
	case l.have > 0:
		r.header.Set("Range", fmt.Sprintf("bytes=%d-", l.have))
	}
	response, err := l.session.api.open(ctx, r)
	if isStatus(err, http.StatusRequestedRangeNotSatisfiable) {
		return nil // nothing new
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if l.have > 0 && !l.follow && response.StatusCode != http.StatusPartialContent {
		return errors.New("the API answered a part of the log with all of it")
	}
	return l.copy(ctx, response.Body)
}

func (l *logReader) copy(ctx context.Context, from io.Reader) error {
	buffer := make([]byte, 32<<10)
	for {
		n, readErr := from.Read(buffer)
		if n > 0 {
			if _, err := l.to.Write(buffer[:n]); err != nil {
				return takeError{fmt.Errorf("the log cannot be written: %w", err)}
			}
			l.have += int64(n)
		}
		if readErr != nil {
			return l.broken(ctx, readErr)
		}
	}
}

// broken tells a log's end from a connection's.
func (l *logReader) broken(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return l.session.api.outOfReach(ctx, http.MethodGet, err)
}

// searchLog prints the lines that have the text.
func (s *session) searchLog(ctx context.Context, id, text string) error {
	if text == "" {
		return usagef("--search is empty")
	}
	query := runOfLog(s.c.String("run"))
	query.Set("search", text)
	query.Set("limit", "1000")
	a, err := s.api.ask(ctx, request{method: http.MethodGet, path: []string{"v1", "jobs", id, "log"}, query: query})
	if err != nil {
		return err
	}
	if s.json {
		return s.verbatim(a.body)
	}
	var found logMatches
	if err := a.into(&found); err != nil {
		return err
	}
	for _, m := range found.Matches {
		fmt.Fprintf(s.out, "%d: %s\n", m.Line, printable(m.Text))
	}
	if found.Truncated {
		s.notef("there are more")
	}
	return nil
}

// followLog copies the log until the job is final. Where the connection breaks
// it goes on where it was.
func (s *session) followLog(ctx context.Context, id string, to io.Writer) (end, error) {
	log := logReader{session: s, id: id, run: s.c.String("run"), follow: true, to: to} // --run is job logs' alone
	p := retries{session: s}
	for {
		// A log that is read to its end after the job was final is whole.
		j, body, err := s.api.job(ctx, id)
		if err == nil {
			log.follow = !j.Status.Final()
			err = log.read(ctx)
		}
		var take takeError
		switch {
		case errors.As(err, &take):
			return end{}, err
		case err != nil:
			if err = p.with(ctx, err); err != nil {
				return end{}, err
			}
		case j.Status.Final():
			return end{j, body}, nil
		default:
			p.recovered()
		}
		if err := pause(ctx, lookEvery); err != nil {
			return end{}, err
		}
	}
}

package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// jobLog is the output of a job's runs as one text: each run's behind a line
// that names it, in their order (see logRuns). The text only grows, at its end:
// what stands before a run is complete. It is read where it lies.
type jobLog struct {
	only  string // the one run that is wanted, as it is; empty: all of them
	parts []logPart
	size  int64
}

// logPart is a header, or what a file had when it was looked at.
type logPart struct {
	run    string
	offset int64 // in the whole text
	size   int64
	header []byte
	file   *os.File // where there is no header
}

// openLog opens what there is now of a job's log, or of that of one run.
func (a *Agent) openLog(job, run string) (*jobLog, error) {
	log := &jobLog{only: run}
	return log, a.extend(job, log)
}

// extend adds what has come since the log was last looked at. It opens only
// what is new.
func (a *Agent) extend(job string, log *jobLog) error {
	// The list comes first: a run that it has not, begins after what is read of
	// the runs before it is complete.
	runs, err := logRuns(a.o.DataDir, job)
	if err != nil {
		return err
	}
	if log.only != "" {
		runs = []string{log.only}
	}
	known := ""
	if n := len(log.parts); n > 0 {
		known = log.parts[n-1].run
		if err := log.stat(); err != nil {
			return err
		}
	}
	switch at := slices.Index(runs, known); {
	case at >= 0:
		runs = runs[at+1:]
	case known != "":
		return nil // the job's folder is gone; what is open can be read on
	}
	for _, run := range runs {
		if err := a.addRun(job, run, log); err != nil {
			return err
		}
	}
	return nil
}

// addRun adds a run's header and output. One that has written no log yet, or
// never will, has no part in the text.
func (a *Agent) addRun(job, run string, log *jobLog) error {
	f, err := os.Open(a.o.Processes.LogPath(job, run))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	// The runs before are complete now, also what they wrote since they were
	// looked at.
	if err := log.stat(); err != nil {
		_ = f.Close()
		return err
	}
	header := "==> " + run + " <==\n"
	if log.only != "" {
		header = ""
	}
	if last := make([]byte, 1); log.size > 0 {
		if _, err := log.ReadAt(last, log.size-1); err != nil {
			_ = f.Close()
			return err
		}
		if last[0] != '\n' {
			header = "\n" + header
		}
	}
	if header != "" {
		log.parts = append(log.parts, logPart{run: run, offset: log.size, size: int64(len(header)), header: []byte(header)})
		log.size += int64(len(header))
	}
	log.parts = append(log.parts, logPart{run: run, offset: log.size, file: f})
	return log.stat()
}

// stat looks at how long the last file is now.
func (l *jobLog) stat() error {
	if len(l.parts) == 0 {
		return nil
	}
	last := &l.parts[len(l.parts)-1]
	info, err := last.file.Stat()
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	last.size = max(last.size, info.Size())
	l.size = last.offset + last.size
	return nil
}

func (l *jobLog) close() {
	for _, p := range l.parts {
		if p.file != nil {
			_ = p.file.Close() // it was only read
		}
	}
}

// ReadAt reads a part of the text.
func (l *jobLog) ReadAt(b []byte, offset int64) (int, error) {
	n := 0
	for i := range l.parts {
		p := &l.parts[i]
		if n == len(b) || offset >= p.offset+p.size {
			continue
		}
		want := b[n:min(len(b), n+int(min(p.offset+p.size-offset, int64(len(b)-n))))]
		var got int
		var err error
		if p.file == nil {
			got = copy(want, p.header[offset-p.offset:])
		} else {
			got, err = p.file.ReadAt(want, offset-p.offset)
		}
		n, offset = n+got, offset+int64(got)
		if got < len(want) { // a log never shrinks, unless somebody cuts it
			return n, fmt.Errorf("read log: %w", errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Sizes of a search: the piece of a line that is looked at once, and what is
// shown of a line.
const (
	searchPiece = 64 << 10
	shownText   = 512
)

// search finds the lines that have a text, in any case. A line longer than a
// piece is looked at piece by piece, with an overlap.
func search(ctx context.Context, log *jobLog, text string, most int) (searchAnswer, error) {
	found := searchAnswer{Matches: []searchMatch{}, Size: log.size}
	wanted := bytes.ToLower([]byte(text))
	in := bufio.NewReaderSize(io.NewSectionReader(log, 0, log.size), searchPiece)
	line, offset, begin := int64(1), int64(0), int64(0)
	matched := false // this line already
	var tail []byte  // the end of the piece before, in the same line
	for {
		piece, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return found, fmt.Errorf("search log: %w", err)
		}
		whole := append(tail, piece...)
		if at := bytes.Index(bytes.ToLower(whole), wanted); at >= 0 && !matched {
			if len(found.Matches) == most {
				found.Truncated = true
				return found, nil
			}
			matched = true
			found.Matches = append(found.Matches, searchMatch{Line: line, Offset: begin, Text: shown(whole, at, len(wanted))})
		}
		offset += int64(len(piece))
		switch {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil: // the line goes on
			tail = bytes.Clone(whole[max(0, len(whole)-len(wanted)+1):])
		default:
			line, begin, matched, tail = line+1, offset, false, nil
			if line%1024 == 0 && ctx.Err() != nil {
				return found, ctx.Err()
			}
		}
	}
}

// shown is a line without its end, or what is around the match in a long one.
func shown(line []byte, at, size int) string {
	if at > len(line) { // the lower case of some letters has another length
		at = len(line)
	}
	if len(line) > shownText {
		from := max(0, min(at-(shownText-min(size, shownText))/2, len(line)-shownText))
		line = line[from : from+shownText]
	}
	text := strings.TrimRight(string(line), "\r\n")
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	return text
}

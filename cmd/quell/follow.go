package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// follow shows the job's log until its end, on a terminal with a progress bar
// on the last line.
func (s *session) follow(ctx context.Context, id string) (end, error) {
	f, ok := terminal(s.out)
	if !ok {
		return s.followLog(ctx, id, s.out)
	}
	bar := &progressBar{to: s.out, paint: s.paint, width: func() int { return widthOf(f) }}
	watching, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		// What goes wrong here goes wrong for the log, too, which tells.
		quiet := *s
		quiet.err = io.Discard
		_, _ = quiet.watch(watching, id, bar.show)
	})
	ended, err := s.followLog(ctx, id, bar)
	cancel()
	looking.Wait()
	bar.close()
	return ended, err
}

func widthOf(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		return 80
	}
	return width
}

// progressBar keeps a bar below what is written through it.
type progressBar struct {
	to    io.Writer
	paint painter
	width func() int

	mu   sync.Mutex
	line []byte // an incomplete line, kept back
	bar  string // "" while there is nothing to show
}

// clearLine goes to the line's begin and empties it.
const clearLine = "\r\x1b[K"

// Write writes whole lines above the bar.
func (b *progressBar) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line = append(b.line, p...)
	whole := bytes.LastIndexByte(b.line, '\n') + 1
	if whole == 0 {
		return len(p), nil
	}
	out := clearLine + string(b.line[:whole]) + b.bar
	b.line = append([]byte(nil), b.line[whole:]...)
	if _, err := io.WriteString(b.to, out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// show draws the bar anew.
func (b *progressBar) show(j job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bar = drawBar(j, b.paint, b.width())
	fmt.Fprint(b.to, clearLine+b.bar)
}

// close takes the bar away and writes what was kept back.
func (b *progressBar) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := clearLine + string(b.line)
	if len(b.line) > 0 {
		out += "\n"
	}
	b.line, b.bar = nil, ""
	fmt.Fprint(b.to, out)
}

// drawBar makes the bar, shorter than the terminal is wide.
func drawBar(j job, paint painter, width int) string {
	const cells = 20
	share := min(max(j.Percentage, 0), 100)
	full := int(share / 100 * cells)
	status := statusCell(j.Status)
	head := fmt.Sprintf("[%s%s] %3.0f%% ", strings.Repeat("#", full), strings.Repeat("-", cells-full), share)
	text := strings.ReplaceAll(printable(strings.Join(j.CurrentTasks, "; ")), "\n", " ")
	if text == "" {
		text = j.Reason
	}
	if text != "" {
		text = "  " + text
	}
	room := width - 1 - utf8.RuneCountInString(head) - len(status.text)
	if runes := []rune(text); len(runes) > max(room, 0) {
		text = ""
		if room > 3 {
			text = string(runes[:room-1]) + "…"
		}
	}
	return head + paint.in(status.colour, status.text) + text
}

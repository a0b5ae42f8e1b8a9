package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// openTerminal opens the terminal of who types, where standard input is one:
// the question is seen wherever the output goes.
func openTerminal(stdin io.Reader) (*os.File, error) {
	f, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, errors.New("standard input is no terminal")
	}
	return os.OpenFile("/dev/tty", os.O_RDWR, 0)
}

// ask asks a question that only y or yes affirms.
func ask(ctx context.Context, t io.ReadWriter, question string) (bool, error) {
	if _, err := fmt.Fprint(t, question); err != nil {
		return false, fmt.Errorf("ask on the terminal: %w", err)
	}
	answers := make(chan string, 1)
	go func() { // left behind by Ctrl-C; the process ends then
		line, _ := bufio.NewReader(t).ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case text := <-answers:
		return text == "y" || text == "yes", nil
	case <-ctx.Done():
		fmt.Fprintln(t)
		return false, exitError{exitInterrupted, errors.New("interrupted; nothing was aborted")}
	}
}

package ansible

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"unicode/utf8"
)

// MaxOutput is the size of the largest output of a run that is read. The callback plugin keeps to the same bound.
const MaxOutput = 4 << 20

// The members that the callback plugin writes instead of an output that it cannot hand over.
const (
	outputTooLarge = "__quell_output_too_large" // how many bytes it would be
	outputError    = "__quell_output_error"     // the kind of the error
)

// ReadOutput reads what a run left in its output file: a JSON object, or nil where there is no file. Whatever else there is,
// an error says.
func ReadOutput(path string) (json.RawMessage, error) {
	// It is the run that wrote it: no link is followed, and no pipe is waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the output: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("the output: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("the output is not a regular file")
	} else if info.Size() > MaxOutput {
		return nil, tooLarge(info.Size())
	}
	// It may still be growing.
	raw, err := io.ReadAll(io.LimitReader(f, MaxOutput+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the output: %w", err)
	case len(raw) > MaxOutput:
		return nil, tooLarge(int64(len(raw)))
	case !utf8.Valid(raw):
		return nil, errors.New("the output is not UTF-8")
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil || !bytes.HasPrefix(out.Bytes(), []byte("{")) {
		return nil, errors.New("the output is not a JSON object")
	}
	if err := pluginsError(out.Bytes()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// pluginsError returns the error that the callback plugin wrote instead of an output.
func pluginsError(output []byte) error {
	if len(output) > 200 || !bytes.HasPrefix(output, []byte(`{"__quell_output_`)) {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(output, &members); err != nil || len(members) != 1 {
		return nil //nolint:nilerr // Then it is not the plugin's.
	}
	if size, err := strconv.ParseInt(string(members[outputTooLarge]), 10, 64); err == nil {
		return tooLarge(size)
	}
	if kind, ok := members[outputError]; ok {
		return fmt.Errorf("the output could not be written as JSON: %s", kind)
	}
	return nil
}

func tooLarge(size int64) error {
	return fmt.Errorf("the output has %d bytes: at most %d are allowed", size, MaxOutput)
}

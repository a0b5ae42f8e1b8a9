package apiserver

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"quell"
)

// Headers by which a client says on whose behalf it asks. They are claims:
// the address that goes with them is not.
const (
	headerRequester = "X-Quell-Requester"
	headerSource    = "X-Quell-Source"
)

const (
	maxRequester = 128
	maxReason    = 1024 // longer ones are cut: an abort must not fail for that
)

// invalid is the error of a wrong request.
func invalid(format string, args ...any) error {
	return quell.Errorf(quell.CodeInvalid, format, args...)
}

// readBody reads the body, whatever its content type: curl's -d labels JSON
// as a form.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not supported without a connection
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, quell.Errorf(quell.CodeTooLarge, "the request body is larger than %d bytes", maxBody)
	case err != nil:
		return nil, invalid("the request body did not arrive whole: %w", err)
	}
	// A deadline that stays would end the request while it is carried out.
	_ = control.SetReadDeadline(time.Time{})
	return data, nil
}

// object splits a member's value, which has to be an object.
func object(m quell.Member, path string) ([]quell.Member, error) {
	members, err := quell.ParseObject(m.Value)
	if err != nil {
		return nil, invalid("%s is not an object: give {…}", path)
	}
	return members, nil
}

// text reads a value that has to be a string.
func text(value json.RawMessage, path string) (string, error) {
	var v *string
	if json.Unmarshal(value, &v) != nil || v == nil {
		return "", invalid("%s is %s: give a string", path, excerpt(string(value)))
	}
	return *v, nil
}

// texts reads a value that has to be a list of strings.
func texts(value json.RawMessage, path string) ([]string, error) {
	var items []*string
	if json.Unmarshal(value, &items) != nil || items == nil || slices.Contains(items, nil) {
		return nil, invalid("%s is %s: give a list of strings", path, excerpt(string(value)))
	}
	list := make([]string, len(items))
	for i, item := range items {
		list[i] = *item
	}
	return list, nil
}

// checkQuery refuses parameters that the request does not know, and repeated
// ones: a mistyped dry_run must not abort anything.
func checkQuery(r *http.Request, known ...string) (url.Values, error) {
	values, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	return values, checkValues(values, known...)
}

func checkValues(values url.Values, known ...string) error {
	for name, list := range values {
		switch {
		case len(known) == 0:
			return invalid("the query parameter %q is unknown: this request takes none", excerpt(name))
		case !slices.Contains(known, name):
			return invalid("the query parameter %q is unknown: there are %s", excerpt(name), strings.Join(known, ", "))
		case len(list) > 1:
			return invalid("the query parameter %q is repeated", name)
		}
	}
	return nil
}

func parseQuery(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query cannot be read: %w", err)
	}
	return values, nil
}

// who says for whom the request is, and by which way it came.
type who struct {
	requester string
	source    quell.Source
}

func whoOf(r *http.Request) (who, error) {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	w := who{requester: address, source: quell.SourceAPI}
	if name := r.Header.Get(headerRequester); name != "" {
		unprintable := func(c rune) bool { return c == utf8.RuneError || !unicode.IsPrint(c) }
		if len(name) > maxRequester || strings.ContainsFunc(name, unprintable) {
			return who{}, invalid("the header %s is longer than %d bytes or holds what cannot be printed", headerRequester, maxRequester)
		}
		w.requester = name + " (" + address + ")"
	}
	switch source := quell.Source(r.Header.Get(headerSource)); source {
	case "":
	case quell.SourceAPI, quell.SourceCLI, quell.SourceWeb:
		w.source = source
	default:
		return who{}, invalid("the header %s is none of %s, %s, %s", headerSource, quell.SourceAPI, quell.SourceCLI, quell.SourceWeb)
	}
	return w, nil
}

// canonicalID returns the one form of a UUID that the store knows, whatever
// the case in which it was typed. Other ways to write a UUID (braces, no
// dashes) are not ids of jobs.
func canonicalID(id string) (string, bool) {
	if len(id) != 36 {
		return "", false
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return "", false
	}
	return parsed.String(), true
}

// cut shortens a text to at most size bytes without breaking a character.
func cut(s string, size int) string {
	if len(s) <= size {
		return s
	}
	return strings.ToValidUTF8(s[:size], "")
}

package quell

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// Member is one property of a JSON object, its value still encoded.
type Member struct {
	Name  string
	Value json.RawMessage
}

// maxDepth bounds how deep a JSON text from outside may nest.
const maxDepth = 200

// ParseObject splits a JSON object into its members, in their order. It is
// strict where encoding/json is not: names keep their case, a property that
// is repeated at any depth is an error, and so is anything behind the object.
// Errors say what is wrong in words for whoever typed the text.
func ParseObject(data []byte) ([]Member, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the text is not valid UTF-8")
	}
	trimmed := bytes.Trim(data, " \t\r\n") // what JSON calls white space, and no more
	switch {
	case len(trimmed) == 0:
		return nil, errors.New("the JSON text is empty")
	case bytes.HasPrefix(trimmed, []byte("'")), bytes.HasPrefix(trimmed, []byte("{'")):
		return nil, errors.New("not JSON: use double quotes (\") instead of single quotes (')")
	}
	dec := json.NewDecoder(bytes.NewReader(trimmed))
	dec.UseNumber()
	if err := checkValue(dec, 0); err != nil {
		return nil, jsonError(trimmed, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("there is more text behind the JSON value, at byte %d", dec.InputOffset())
	}
	if trimmed[0] != '{' {
		return nil, errors.New("a JSON object is needed: {…}")
	}
	return members(trimmed)
}

// members lists the members of a text that is known to be a valid object.
func members(object []byte) ([]Member, error) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("read object: %w", err)
	}
	list := []Member{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("read property name: %w", err)
		}
		m := Member{Name: name.(string)}
		if err := dec.Decode(&m.Value); err != nil {
			return nil, fmt.Errorf("read property %q: %w", m.Name, err)
		}
		list = append(list, m)
	}
	return list, nil
}

// placeError is a fault at a place inside the text: "input.list[3]". The path
// is put together on the way out, so that a text without a fault costs none.
type placeError struct {
	path    string
	problem string // holds a %q for the path
}

func (e *placeError) Error() string { return fmt.Sprintf(e.problem, excerpt(e.path)) }

// below puts the name of the value that holds the fault in front of its path.
func below(name string, err error) error {
	var e *placeError
	if errors.As(err, &e) {
		if e.path != "" && e.path[0] != '[' {
			name += "."
		}
		e.path = name + e.path
	}
	return err
}

// checkValue walks one value and refuses repeated properties.
func checkValue(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return &placeError{problem: "%q nests deeper than " + strconv.Itoa(maxDepth) + " levels"}
	}
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		err = checkObject(dec, depth)
	case json.Delim('['):
		for i := 0; dec.More() && err == nil; i++ {
			if err = checkValue(dec, depth+1); err != nil {
				err = below("["+strconv.Itoa(i)+"]", err)
			}
		}
	default:
		return nil
	}
	if err != nil {
		return err
	}
	_, err = dec.Token() // the closing bracket
	return err
}

func checkObject(dec *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		name := token.(string) // the decoder refuses any other name
		if seen[name] {
			return &placeError{path: name, problem: "the property %q is repeated"}
		}
		seen[name] = true
		if err := checkValue(dec, depth+1); err != nil {
			return below(name, err)
		}
	}
	return nil
}

// jsonError turns the decoder's error into one for whoever typed the text.
func jsonError(text []byte, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		// The decoder is vague about the place; reading it all at once is not.
		var whole json.RawMessage
		if exact := json.Unmarshal(text, &whole); errors.As(exact, &syntax) {
			err = exact
		}
		at := min(max(int(syntax.Offset)-1, 0), len(text))
		if at < len(text) && text[at] == '\'' {
			return errors.New("not JSON: use double quotes (\") instead of single quotes (')")
		}
		return fmt.Errorf("not JSON: %w (at byte %d)", err, syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("not JSON: the text ends too early")
	}
	return err
}

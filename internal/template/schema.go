package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"quell"
)

// schemaURL is what the compiler calls a template's schema. It can be loaded
// from nowhere.
const schemaURL = "quell:///schema"

// maxMismatches bounds how many mismatches one error tells.
const maxMismatches = 200

// CheckInput checks a job's input against the template's input schema. All
// mismatches are told in one error, each with its JSON pointer ("#/a/0").
func CheckInput(t quell.Template, input json.RawMessage) error {
	return check(t, "input", t.InputSchema, input)
}

// CheckOutput checks what a job's playbooks gave back against the template's
// output schema, as CheckInput does. No output at all is an empty object,
// since that is what playbooks without any leave.
func CheckOutput(t quell.Template, output json.RawMessage) error {
	if len(output) == 0 {
		output = json.RawMessage("{}")
	}
	return check(t, "output", t.OutputSchema, output)
}

// check checks a value against a schema of the template; what says which.
func check(t quell.Template, what string, schema, data json.RawMessage) error {
	if len(schema) == 0 {
		return nil
	}
	compiled, err := compile(schema)
	if err != nil {
		return quell.Errorf(quell.CodeConflict, "the stored job template %s cannot be used: its %s_schema: %w", t.FQName, what, err)
	}
	value, err := decode(data)
	if err != nil {
		return quell.Errorf(quell.CodeInvalid, "the %s: %w", what, err)
	}
	switch err := compiled.Validate(value); {
	case err == nil:
		return nil
	case what == "output": // told beside its job, which names the template
		return quell.Errorf(quell.CodeInvalid, "the output does not fit the output_schema: %s", mismatches(err))
	default:
		return quell.Errorf(quell.CodeInvalid, "the input does not fit the input_schema of the job template %s: %s", t.FQName, mismatches(err))
	}
}

// compile compiles a JSON Schema of any draft from 4 to 2020-12, the newest
// where it does not say. References lead nowhere but into the schema itself
// and to the drafts.
func compile(schema json.RawMessage) (*jsonschema.Schema, error) {
	value, err := decode(schema)
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(noLoader{})
	if err := compiler.AddResource(schemaURL, value); err != nil {
		return nil, fmt.Errorf("it is not a JSON Schema: %w", err)
	}
	compiled, err := compiler.Compile(schemaURL)
	var load *jsonschema.LoadURLError
	var invalid *jsonschema.SchemaValidationError
	switch {
	case err == nil:
		return compiled, nil
	case errors.As(err, &load):
		return nil, fmt.Errorf("it refers to %s: only what is inside the schema can be referred to", shorten(load.URL))
	case errors.As(err, &invalid):
		return nil, fmt.Errorf("it is not a JSON Schema: %s", mismatches(invalid.Err))
	}
	return nil, fmt.Errorf("it is not a JSON Schema: %s", strings.ReplaceAll(err.Error(), schemaURL, ""))
}

// noLoader refuses to load whatever a schema refers to.
type noLoader struct{}

func (noLoader) Load(string) (any, error) { return nil, errors.New("nothing is loaded") }

// decode reads a JSON value as the validator wants it.
func decode(data json.RawMessage) (any, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return value, checkNumbers(value)
}

// checkNumbers refuses numbers beyond those of a float64. The validator
// computes with exact fractions, where 1e1000000 costs a megabyte and
// milliseconds, and anything above is a nil that it does not expect.
func checkNumbers(value any) error {
	switch v := value.(type) {
	case json.Number:
		if _, exponent, _ := strings.Cut(strings.ToLower(v.String()), "e"); exponent != "" {
			if e, err := strconv.Atoi(exponent); err != nil || e > 400 || e < -400 {
				return fmt.Errorf("the number %s is out of range", shorten(v.String()))
			}
		}
	case []any:
		for _, item := range v {
			if err := checkNumbers(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, item := range v {
			if err := checkNumbers(item); err != nil {
				return err
			}
		}
	}
	return nil
}

// mismatches lists what a validation found, in one line.
func mismatches(err error) string {
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return err.Error()
	}
	var list []string
	collect(invalid, &list)
	slices.Sort(list)           // the validator goes through objects in no order
	list = slices.Compact(list) // the branches of an anyOf may say the same
	if more := len(list) - maxMismatches; more > 0 {
		list = append(list[:maxMismatches], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, "; ")
}

// collect lists the leaves: what they are part of says no more than that
// something below it failed.
func collect(e *jsonschema.ValidationError, into *[]string) {
	if len(e.Causes) == 0 {
		*into = append(*into, leaf(e)...)
		return
	}
	names, ok := e.ErrorKind.(*kind.PropertyNames)
	if !ok {
		for _, cause := range e.Causes {
			collect(cause, into)
		}
		return
	}
	// The causes know only the name that they judge, not whose it is.
	at := "#" + e.DetailedOutput().InstanceLocation + "/" + pointerEscapes.Replace(names.Property)
	var below []string
	for _, cause := range e.Causes {
		collect(cause, &below)
	}
	for _, text := range below {
		*into = append(*into, shorten(at)+": the property's name: "+strings.TrimPrefix(text, "#: "))
	}
}

// leaf has a line for each mismatch. The validator tells the properties that
// an object lacks, or has too many, in one; here each is told.
func leaf(e *jsonschema.ValidationError) []string {
	unit := e.DetailedOutput()
	at := "#" + unit.InstanceLocation
	var lines []string
	missing := func(names []string, why string) []string {
		for _, name := range names {
			lines = append(lines, fmt.Sprintf("%s: missing property '%s'%s", at, shorten(name), why))
		}
		return lines
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return missing(k.Missing, "")
	case *kind.DependentRequired:
		return missing(k.Missing, fmt.Sprintf(", which '%s' needs", shorten(k.Prop)))
	case *kind.Dependency:
		return missing(k.Missing, fmt.Sprintf(", which '%s' needs", shorten(k.Prop)))
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			lines = append(lines, fmt.Sprintf("%s/%s: the property is not allowed", at, shorten(pointerEscapes.Replace(name))))
		}
		return lines
	}
	return []string{at + ": " + shorten(unit.Error.String())}
}

// pointerEscapes writes a name as a part of a JSON pointer.
var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

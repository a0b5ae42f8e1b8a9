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

	"quell"
)

// schemaURL is what the compiler calls a template's schema. It can be loaded
// from nowhere.
const schemaURL = "quell:///input_schema"

// maxMismatches bounds how many mismatches one error tells.
const maxMismatches = 20

// CheckInput checks a job's input against the template's input schema. All
// mismatches are told in one error, each with its JSON pointer ("#/a/0").
func CheckInput(t quell.Template, input json.RawMessage) error {
	if len(t.InputSchema) == 0 {
		return nil
	}
	schema, err := compile(t.InputSchema)
	if err != nil {
		return quell.Errorf(quell.CodeConflict, "the stored job template %s cannot be used: its input_schema: %w", t.FQName, err)
	}
	value, err := decode(input)
	if err != nil {
		return quell.Errorf(quell.CodeInvalid, "the input: %w", err)
	}
	if err := schema.Validate(value); err != nil {
		return quell.Errorf(quell.CodeInvalid, "the input does not fit the input_schema of the job template %s: %s", t.FQName, mismatches(err))
	}
	return nil
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
	collect(invalid.DetailedOutput(), &list)
	slices.Sort(list) // the validator goes through objects in no order
	if more := len(list) - maxMismatches; more > 0 {
		list = append(list[:maxMismatches], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, "; ")
}

// collect lists the leaves: what they are part of says no more than that
// something below it failed.
func collect(unit *jsonschema.OutputUnit, into *[]string) {
	if unit.Error != nil && len(unit.Errors) == 0 {
		*into = append(*into, fmt.Sprintf("#%s: %s", unit.InstanceLocation, shorten(unit.Error.String())))
	}
	for i := range unit.Errors {
		collect(&unit.Errors[i], into)
	}
}

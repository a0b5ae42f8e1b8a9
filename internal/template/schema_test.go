package template_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
	"quell/internal/template"
)

// check checks a value as an input and as an output.
func check(schema, value string) map[string]error {
	s, v := json.RawMessage(schema), json.RawMessage(value)
	return map[string]error{
		"input":  template.CheckInput(quell.Template{FQName: quell.FQName{"a", "b"}, InputSchema: s}, v),
		"output": template.CheckOutput(quell.Template{FQName: quell.FQName{"a", "b"}, OutputSchema: s}, v),
	}
}

// TestCheck has every case for an input and for an output.
func TestCheck(t *testing.T) {
	const list = `"properties":{"list":{"items":{"type":"integer"}}},"required":["name"]`
	for name, c := range map[string]struct {
		schema, value string
		want          []string
	}{
		"no schema":   {schema: "", value: `{"a":1}`},
		"fits":        {schema: `{` + list + `}`, value: `{"name":"x","list":[1,2]}`},
		"all at once": {schema: `{` + list + `}`, value: `{"list":["a",1,"b"]}`, want: []string{"#: missing property 'name'", "#/list/0: ", "#/list/2: "}},
		"pointer's ~": {schema: `{"properties":{"a/b":{"type":"string"}}}`, value: `{"a/b":1}`, want: []string{"#/a~1b: "}},
		"each that lacks": {
			schema: `{"properties":{"o":{"required":["a","b","c"]}}}`, value: `{"o":{"b":1}}`,
			want: []string{"#/o: missing property 'a'; #/o: missing property 'c'"},
		},
		"each too many": {
			schema: `{"properties":{"a":{}},"additionalProperties":false}`, value: `{"a":1,"b~/c":2,"d":3}`,
			want: []string{"#/b~0~1c: the property is not allowed; #/d: the property is not allowed"},
		},
		"each that another needs": {
			schema: `{"dependentRequired":{"a":["b","c"]}}`, value: `{"a":1}`,
			want: []string{"#: missing property 'b', which 'a' needs; #: missing property 'c', which 'a' needs"},
		},
		"the branches": {
			schema: `{"anyOf":[{"required":["a"]},{"required":["b"]},{"properties":{"c":{"type":"string"}},"required":["a"]}]}`, value: `{"c":1}`,
			want: []string{": #/c: got number, want string; #: missing property 'a'; #: missing property 'b'"},
		},
		"names below": {
			schema: `{"properties":{"o":{"propertyNames":{"pattern":"^x","maxLength":2}}}}`, value: `{"o":{"a/b":1,"xy":1,"xyz":2}}`,
			want: []string{"#/o/a~1b: the property's name: maxLength: ", "#/o/a~1b: the property's name: 'a/b' does not match", "#/o/xyz: the property's name: maxLength: "},
		},
		"no name at all": {schema: `{"propertyNames":false}`, value: `{"x":1}`, want: []string{"#/x: the property's name: "}},
		"inner ref":      {schema: `{"properties":{"n":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}`, value: `{"n":"x"}`, want: []string{"#/n: "}},
		"loops":          {schema: `{"$ref":"#"}`, value: `{}`, want: []string{"#"}},
		"huge number":    {schema: `{"properties":{"n":{"multipleOf":2}}}`, value: `{"n":1e1000001}`, want: []string{"1e1000001 is out of range"}},
		"tiny number":    {schema: `{"properties":{"n":{"minimum":2}}}`, value: `{"n":[1e-99999999999999999999]}`, want: []string{"is out of range"}},
		"no JSON":        {schema: `{"type":"object"}`, value: `{`, want: []string{": not JSON"}},
	} {
		t.Run(name, func(t *testing.T) {
			for what, err := range check(c.schema, c.value) {
				if c.want == nil {
					require.NoError(t, err, what)
					continue
				}
				require.Error(t, err, what)
				assert.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
				assert.True(t, strings.HasPrefix(err.Error(), "the "+what), err.Error())
				for _, want := range c.want {
					assert.Contains(t, err.Error(), want)
				}
			}
		})
	}
}

// TestCheckByDraft has keywords that mean something in one draft and nothing,
// or something else, in others.
func TestCheckByDraft(t *testing.T) {
	const (
		d4    = `"$schema":"http://json-schema.org/draft-04/schema#",`
		d6    = `"$schema":"http://json-schema.org/draft-06/schema#",`
		d7    = `"$schema":"http://json-schema.org/draft-07/schema#",`
		d2019 = `"$schema":"https://json-schema.org/draft/2019-09/schema",`
		d2020 = `"$schema":"https://json-schema.org/draft/2020-12/schema",`
		newer = `"properties":{"l":{"prefixItems":[{"type":"string"}]}}`
		when  = `"if":{"required":["a"]},"then":{"required":["b"]}`
		needs = `"dependentRequired":{"a":["b"]}`
	)
	for name, c := range map[string]struct{ schema, value, want string }{
		"4":                  {d4 + `"properties":{"n":{"minimum":1,"exclusiveMinimum":true}}`, `{"n":1}`, "#/n: "},
		"4, dependencies":    {d4 + `"dependencies":{"a":["b"]}`, `{"a":1}`, "#: missing property 'b', which 'a' needs"},
		"4 is not 6":         {d4 + `"propertyNames":{"maxLength":2}`, `{"abc":1}`, ""},
		"6":                  {d6 + `"properties":{"n":{"exclusiveMinimum":1}}`, `{"n":1}`, "#/n: "},
		"6, names":           {d6 + `"propertyNames":{"maxLength":2}`, `{"abc":1}`, "#/abc: the property's name: maxLength: got 3, want 2"},
		"6, an id":           {d6 + `"$id":"/schemas/x.json","properties":{"n":{"$ref":"#/definitions/n"}},"definitions":{"n":{"type":"integer"}}`, `{"n":"x"}`, "#/n: "},
		"6, formats":         {d6 + `"properties":{"n":{"format":"ipv4"}}`, `{"n":"1.2.3"}`, "#/n: "},
		"6 is not 7":         {d6 + when, `{"a":1}`, ""},
		"7":                  {d7 + when, `{"a":1}`, "#: missing property 'b'"},
		"7 is not 2019-09":   {d7 + needs, `{"a":1}`, ""},
		"2019-09":            {d2019 + needs, `{"a":1}`, "#: missing property 'b'"},
		"2019-09 is not '20": {d2019 + newer, `{"l":[1]}`, ""},
		"2020-12":            {d2020 + newer, `{"l":[1]}`, "#/l/0: "},
		"2020-12 fits":       {d2020 + newer, `{"l":["x"]}`, ""},
		"none is the newest": {newer, `{"l":[1]}`, "#/l/0: "},
	} {
		t.Run(name, func(t *testing.T) {
			for what, err := range check("{"+c.schema+"}", c.value) {
				if c.want == "" {
					require.NoError(t, err, what)
					continue
				}
				require.Error(t, err, what)
				assert.Contains(t, err.Error(), ": "+c.want)
			}
			// The reader takes it from either format, as it is and in a string.
			for _, form := range []string{"{" + c.schema + "}", asJSON(t, "{"+c.schema+"}")} {
				for _, text := range []string{
					`{"fq_name":["a"],"playbooks":[{"playbook_uri":"x"}],"input_schema":` + form + `}`,
					payload(`{"fq_name":["a"],"job_template_playbooks":{"playbook_info":[{"playbook_uri":"x"}]},"job_template_input_schema":` + form + `}`),
				} {
					file, err := template.Read("f.json", []byte(text))
					require.NoError(t, err)
					assert.JSONEq(t, "{"+c.schema+"}", string(file.Templates[0].InputSchema))
				}
			}
		})
	}
}

// TestCheckSaysWhichSchema has a template whose two schemas differ.
func TestCheckSaysWhichSchema(t *testing.T) {
	both := quell.Template{
		FQName: quell.FQName{"a", "b"}, InputSchema: json.RawMessage(`{"required":["in"]}`), OutputSchema: json.RawMessage(`{"required":["out"]}`),
	}
	require.EqualError(t, template.CheckInput(both, json.RawMessage(`{"out":1}`)),
		"the input does not fit the input_schema of the job template a:b: #: missing property 'in'")
	require.EqualError(t, template.CheckOutput(both, json.RawMessage(`{"in":1}`)),
		"the output does not fit the output_schema: #: missing property 'out'")
	require.NoError(t, template.CheckInput(both, json.RawMessage(`{"in":1}`)))
	require.NoError(t, template.CheckOutput(both, json.RawMessage(`{"out":1}`)))
}

// TestCheckOutputOfNothing has playbooks that gave nothing back.
func TestCheckOutputOfNothing(t *testing.T) {
	require.NoError(t, template.CheckOutput(quell.Template{OutputSchema: json.RawMessage(`{"type":"object"}`)}, nil))
	err := template.CheckOutput(quell.Template{OutputSchema: json.RawMessage(`{"required":["a"]}`)}, nil)
	require.ErrorContains(t, err, "#: missing property 'a'")
}

func TestCheckBoundsTheMessage(t *testing.T) {
	values := "[" + strings.TrimSuffix(strings.Repeat(`"x",`, 5000), ",") + "]"
	for what, err := range check(`{"items":{"type":"integer"}}`, values) {
		require.Error(t, err, what)
		assert.Contains(t, err.Error(), "; and 4800 more")
		assert.Equal(t, 200, strings.Count(err.Error(), "#/"))
		assert.Less(t, len(err.Error()), 16<<10)
	}
}

// TestCheckIsInOrder tells the same of the same value every time.
func TestCheckIsInOrder(t *testing.T) {
	for range 50 {
		for what, err := range check(`{"additionalProperties":{"type":"integer"}}`, `{"d":"","b":"","a":"","c":""}`) {
			require.Error(t, err, what)
			require.Regexp(t, "#/a: .*#/b: .*#/c: .*#/d: ", err.Error())
		}
	}
}

// TestCheckWithStoredSchema has a schema that another release stored.
func TestCheckWithStoredSchema(t *testing.T) {
	for what, err := range check(`{"type":3}`, `{}`) {
		require.Error(t, err)
		assert.Equal(t, quell.CodeConflict, quell.CodeOf(err))
		assert.Contains(t, err.Error(), "the stored job template a:b cannot be used: its "+what+"_schema: ")
	}
}

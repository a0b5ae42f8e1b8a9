package template

import (
	"bytes"
	_ "embed" // for the schema
)

//go:embed job-template.schema.json
var published []byte

// Schema returns the JSON Schema (draft 2020-12) of a job template in Quell's
// own format, for editors: it completes, explains and checks a file while it
// is written. The reader goes further: it also knows what a schema cannot
// say, such as that a name occurs once in a file.
func Schema() []byte { return bytes.Clone(published) }

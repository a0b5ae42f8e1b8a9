// Package template reads job templates from files and requests, and checks
// what they promise: that a schema is one, and that an input or an output
// fits it.
//
// It reads two formats. Quell's own is strict: an unknown or repeated
// property, a wrong type or a value that cannot be meant is an error. Its
// members are published as a JSON Schema, [Schema]. Contrail's predefined
// payload file goes in as it is: what is no job template there is skipped and
// listed, and members that mean nothing to Quell are ignored. In both, an
// error names the file, the object and the field, and a file's problems are
// told all at once. Nothing is ever loaded from a network or from another
// file.
//
// The package refuses to know where templates are stored and how playbooks
// are run.
package template

import (
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"

	"quell"
)

// File is what a text holds.
type File struct {
	Templates []quell.Template // at least one; each has its UUID
	// Skipped has a line, the file's name included, for each object type of
	// a payload file that Quell does not read.
	Skipped []string
}

// ReadFile reads all job templates of a YAML or JSON file.
func ReadFile(path string) (File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return File{}, quell.Errorf(quell.CodeInvalid, "the template file cannot be read: %w", err)
	}
	return Read(path, data)
}

// Read reads all job templates of a YAML or JSON text. A document is one
// template in Quell's own format, or a payload of Contrail with any number.
// name is what errors call the text.
func Read(name string, data []byte) (File, error) {
	return read(name, data, nil)
}

// ReadNamed reads a text that holds exactly one job template in Quell's own
// format, which is to be stored as fqName: its own fq_name is the same, or
// missing.
func ReadNamed(name string, data []byte, fqName quell.FQName) (quell.Template, error) {
	if err := fqName.Check(); err != nil {
		return quell.Template{}, err
	}
	file, err := read(name, data, fqName)
	if err != nil {
		return quell.Template{}, err
	}
	if n := len(file.Templates); n != 1 {
		return quell.Template{}, quell.Errorf(quell.CodeInvalid, "%s: there are %d job templates: give one", name, n)
	}
	return file.Templates[0], nil
}

// read reads all documents. Where as is given, it is the name of every one.
func read(name string, data []byte, as quell.FQName) (File, error) {
	list, documentErr := documents(data)
	c := collection{names: map[string]string{}, uuids: map[string]string{}}
	for i, d := range list {
		place := fmt.Sprintf("document %d", i+1)
		if as == nil && d.isPayload() {
			if len(list) == 1 && documentErr == nil {
				place = "" // there is no other document to tell it from
			}
			c.payload(place, d)
			continue
		}
		r := reader{as: as}
		c.add(place, r.document(d), r.problems)
	}
	switch {
	case documentErr != nil:
		c.problems = append(c.problems, fmt.Sprintf("document %d: %v", len(list)+1, documentErr))
	case len(c.templates) == 0 && len(c.problems) == 0:
		text := "there is no job template in it"
		if len(c.skipped) > 0 {
			text += " (" + strings.Join(c.skippedLines(), "; ") + ")"
		}
		c.problems = append(c.problems, text)
	}
	if err := problemsError(name, c.problems); err != nil {
		return File{}, err
	}
	file := File{Templates: c.templates}
	for _, line := range c.skippedLines() {
		file.Skipped = append(file.Skipped, name+": "+line)
	}
	return file, nil
}

// collection is what the documents of one text hold together.
type collection struct {
	templates []quell.Template
	problems  []string
	skipped   []skippedType
	names     map[string]string // by fq_name: the place of the template
	uuids     map[string]string
}

// add takes a template that was read at a place, or its problems.
func (c *collection) add(place string, t quell.Template, problems []string) {
	label := place
	if len(t.FQName) > 0 {
		label += " (" + shorten(t.FQName.String()) + ")"
		first, repeated := c.names[t.FQName.String()]
		switch owner, taken := c.uuids[t.UUID]; {
		case repeated:
			problems = append(problems, fmt.Sprintf("fq_name: %s has the same: give each job template a name of its own", first))
		case taken && t.UUID != "":
			problems = append(problems, fmt.Sprintf("uuid: %s has the same, %s: give each job template one of its own, or leave it out", owner, t.UUID))
		default:
			c.names[t.FQName.String()], c.uuids[t.UUID] = place, place
		}
	}
	for _, text := range problems {
		c.problems = append(c.problems, label+": "+text)
	}
	c.templates = append(c.templates, t)
}

// namespace makes the uuids of templates that bring none. It was drawn at
// random for Quell and is fixed for good: a template keeps its uuid on every
// machine and in every release, since clients store it as job_template_id.
var namespace = uuid.MustParse("9bed3eac-4b70-404b-b31a-5f8ff6135f09")

// UUIDOf is the job_template_id of a template that brings none: a UUIDv5 of
// its name (RFC 9562, section 5.5), the same wherever it is read.
func UUIDOf(name quell.FQName) string {
	return uuid.NewSHA1(namespace, []byte(name.String())).String()
}

// maxProblems bounds how many problems one error tells.
const maxProblems = 200

// problemsError makes one error of all problems, nil when there are none.
func problemsError(name string, texts []string) error {
	switch len(texts) {
	case 0:
		return nil
	case 1:
		return quell.Errorf(quell.CodeInvalid, "%s: %s", name, texts[0])
	}
	all := len(texts)
	if more := all - maxProblems; more > 0 {
		texts = append(texts[:maxProblems:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return quell.Errorf(quell.CodeInvalid, "%s: %d problems:\n- %s", name, all, strings.Join(texts, "\n- "))
}

// shorten cuts a text from outside for an error message.
func shorten(text string) string {
	const longest = 100
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

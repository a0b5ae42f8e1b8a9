// Package template reads job templates from files and requests, and checks
// what they promise: that an input schema is one, and that an input fits it.
//
// It is strict: an unknown or repeated property, a wrong type or a value that
// cannot be meant is an error which names the file, the document and the
// field, and a file's problems are told all at once. What the design knows
// and this version cannot do yet is refused with quell.CodeUnsupported rather
// than ignored. Nothing is ever loaded from a network or from another file.
//
// The package refuses to know where templates are stored and how playbooks
// are run.
package template

import (
	"fmt"
	"os"
	"strings"

	"quell"
)

// ReadFile reads all job templates of a YAML or JSON file.
func ReadFile(path string) ([]quell.Template, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, quell.Errorf(quell.CodeInvalid, "the template file cannot be read: %w", err)
	}
	return Read(path, data)
}

// Read reads all job templates of a YAML or JSON text, one a document. name
// is what errors call the text.
func Read(name string, data []byte) ([]quell.Template, error) {
	return read(name, data, nil)
}

// ReadNamed reads a text that holds exactly one job template, which is to be
// stored as fqName: its own fq_name is the same, or missing.
func ReadNamed(name string, data []byte, fqName quell.FQName) (quell.Template, error) {
	if err := fqName.Check(); err != nil {
		return quell.Template{}, err
	}
	templates, err := read(name, data, fqName)
	if err != nil {
		return quell.Template{}, err
	}
	if len(templates) != 1 {
		return quell.Template{}, quell.Errorf(quell.CodeInvalid, "%s: there are %d job templates: give one", name, len(templates))
	}
	return templates[0], nil
}

// read reads all documents. Where as is given, it is the name of every one.
func read(name string, data []byte, as quell.FQName) ([]quell.Template, error) {
	list, documentErr := documents(data)
	problems := problemList{}
	templates := make([]quell.Template, 0, len(list))
	seen := map[string]int{}
	for i, d := range list {
		r := reader{as: as}
		t := r.document(d)
		label := fmt.Sprintf("document %d", i+1)
		if len(t.FQName) > 0 {
			label += " (" + shorten(t.FQName.String()) + ")"
		}
		if first, repeated := seen[t.FQName.String()]; repeated && len(t.FQName) > 0 {
			r.invalid("fq_name", "document %d has the same: give each job template a name of its own", first)
		}
		seen[t.FQName.String()] = i + 1
		for _, p := range r.problems {
			problems = append(problems, problem{code: p.code, text: label + ": " + p.text})
		}
		templates = append(templates, t)
	}
	switch {
	case documentErr != nil:
		problems = append(problems, problem{
			code: quell.CodeInvalid, text: fmt.Sprintf("document %d: %v", len(list)+1, documentErr),
		})
	case len(list) == 0:
		problems = append(problems, problem{code: quell.CodeInvalid, text: "there is no job template in it"})
	}
	if err := problems.err(name); err != nil {
		return nil, err
	}
	return templates, nil
}

// problem is one thing that is wrong with a document.
type problem struct {
	code quell.Code
	text string
}

type problemList []problem

// maxProblems bounds how many problems one error tells.
const maxProblems = 50

// err makes one error of all problems, nil when there are none. The error is
// CodeUnsupported only where a later version would take the text as it is.
func (l problemList) err(name string) error {
	if len(l) == 0 {
		return nil
	}
	code := quell.CodeUnsupported
	texts := make([]string, 0, len(l))
	for _, p := range l {
		if p.code != quell.CodeUnsupported {
			code = quell.CodeInvalid
		}
		texts = append(texts, p.text)
	}
	if len(texts) == 1 {
		return quell.Errorf(code, "%s: %s", name, texts[0])
	}
	if more := len(texts) - maxProblems; more > 0 {
		texts = append(texts[:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return quell.Errorf(code, "%s: %d problems:\n- %s", name, len(l), strings.Join(texts, "\n- "))
}

// shorten cuts a text from outside for an error message.
func shorten(text string) string {
	const longest = 100
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

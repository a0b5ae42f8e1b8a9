package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"quell"
)

// document is one document of a text, as JSON. Where it comes from YAML,
// problems has what JSON cannot say.
type document struct {
	json     []byte
	problems []string
}

// members lists the document's properties. The error has a line for each
// problem.
func (d document) members() ([]quell.Member, error) {
	if len(d.problems) > 0 {
		return nil, errors.New(strings.Join(d.problems, "\n"))
	}
	return quell.ParseObject(d.json)
}

// documents splits a text into its documents. With an error it returns those
// that stand before the mistake. YAML documents are turned into JSON, so that
// one reader serves both.
func documents(data []byte) ([]document, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the text is not valid UTF-8")
	}
	trimmed := bytes.TrimSpace(data)
	if !bytes.HasPrefix(trimmed, []byte("{")) {
		return yamlDocuments(data)
	}
	list, jsonErr := jsonDocuments(trimmed)
	if jsonErr == nil {
		return list, nil
	}
	// YAML's flow style begins like JSON, and JSON documents may be set
	// apart by YAML's "---". What is neither was most likely meant as JSON.
	if fromYAML, err := yamlDocuments(data); err == nil {
		return fromYAML, nil
	}
	return list, jsonErr
}

// jsonDocuments splits a stream of JSON values.
func jsonDocuments(data []byte) ([]document, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	var list []document
	for {
		var raw json.RawMessage
		switch err := dec.Decode(&raw); {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return list, fmt.Errorf("not JSON: %w (at byte %d)", err, dec.InputOffset())
		}
		list = append(list, document{json: raw})
	}
}

// yamlDocuments splits a YAML stream. Empty documents are left out.
func yamlDocuments(data []byte) ([]document, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var list []document
	for {
		var node yaml.Node
		switch err := dec.Decode(&node); {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return list, fmt.Errorf("not YAML: %w", err)
		}
		if len(node.Content) == 0 || node.Content[0].ShortTag() == "!!null" {
			continue
		}
		c := converter{limit: maxGrowth + 4*len(data)}
		c.value(node.Content[0], 0)
		list = append(list, document{json: c.out.Bytes(), problems: c.problems})
	}
}

const (
	// maxGrowth bounds, in bytes of JSON, what a document may grow to by
	// its aliases. What it has without any, JSON's punctuation included, is
	// allowed for beside that, so that a large payload of Contrail fits.
	maxGrowth = 2 << 20
	// maxDepth bounds how deep it may nest; an alias inside its own anchor
	// ends here too.
	maxDepth = 100
)

// converter writes YAML nodes as JSON. Repeated keys are kept, so that the
// reader finds them with the path to them.
type converter struct {
	out      bytes.Buffer
	problems []string
	limit    int // of out
	full     bool
}

// problem records what is wrong and writes null in the value's place.
func (c *converter) problem(n *yaml.Node, format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf("line %d: %s", n.Line, fmt.Sprintf(format, args...)))
	c.out.WriteString("null")
}

func (c *converter) value(n *yaml.Node, depth int) {
	if c.full { // has been told
		c.out.WriteString("null")
		return
	}
	if c.out.Len() > c.limit || depth > maxDepth {
		c.full = true
		c.problem(n, "the document is too large, or nests too deep, with its aliases written out")
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		c.mapping(n, depth)
	case yaml.SequenceNode:
		c.out.WriteByte('[')
		for i, item := range n.Content {
			c.comma(i)
			c.value(item, depth+1)
		}
		c.out.WriteByte(']')
	case yaml.AliasNode:
		c.value(n.Alias, depth+1)
	default:
		c.scalar(n)
	}
}

func (c *converter) mapping(n *yaml.Node, depth int) {
	c.out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		c.comma(i)
		name := key.Value
		switch {
		case key.ShortTag() == "!!merge":
			c.problems = append(c.problems, fmt.Sprintf("line %d: merge keys (<<) are not read: write the properties out", key.Line))
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null":
			c.problems = append(c.problems, fmt.Sprintf("line %d: a property's name is a string", key.Line))
		}
		c.write(n, name)
		c.out.WriteByte(':')
		c.value(n.Content[i+1], depth+1)
	}
	c.out.WriteByte('}')
}

func (c *converter) scalar(n *yaml.Node) {
	switch n.ShortTag() {
	case "!!null":
		c.out.WriteString("null")
	case "!!str", "!!timestamp": // JSON has no dates: the text is what was typed
		c.write(n, n.Value)
	case "!!bool":
		var v bool
		c.decode(n, &v)
		c.write(n, v)
	case "!!int":
		var v any
		c.decode(n, &v)
		c.write(n, v)
	case "!!float":
		var v float64
		c.decode(n, &v)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			c.problem(n, "%s is no number of JSON", shorten(n.Value))
			return
		}
		c.write(n, v)
	default:
		c.problem(n, "the tag %s is not read: give a string, a number, true or false", shorten(n.Tag))
	}
}

func (c *converter) decode(n *yaml.Node, into any) {
	if err := n.Decode(into); err != nil {
		c.problems = append(c.problems, fmt.Sprintf("line %d: %s cannot be read", n.Line, shorten(n.Value)))
	}
}

// write appends a scalar.
func (c *converter) write(n *yaml.Node, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		c.problem(n, "%s cannot be read", shorten(n.Value))
		return
	}
	c.out.Write(text)
}

func (c *converter) comma(i int) {
	if i > 0 {
		c.out.WriteByte(',')
	}
}

// Package web serves the job summary page under /ui/: a single-page application whose sources lie beside this file and
// whose build is embedded.
//
// A build without Node embeds a page that says how to get the real one, so that the Go sources compile in a clean clone.
// The package promises that the page loads nothing from elsewhere and runs no script but its own. It knows nothing of
// jobs: the page asks the API for them.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// The pattern matches dist-unbuilt, which is in the repository, and dist, once `npm run build` has made it.
//
//go:embed all:dist*
var embedded embed.FS

// Base is the path that the page is served under; its build has it in its links.
const Base = "/ui/"

// The page is made of its own files, and of nothing else. React sets styles through the CSSOM, which the policy allows;
// PatternFly's style sheets have small images as data: URLs.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// The folder whose files have a hash of their content in their names, and so never change.
const assets = "assets/"

// contentTypes are those of the files that a build has. The system's table of types differs from host to host.
var contentTypes = map[string]string{
	".css":   "text/css; charset=utf-8",
	".html":  "text/html; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".json":  "application/json",
	".png":   "image/png",
	".svg":   "image/svg+xml",
	".txt":   "text/plain; charset=utf-8",
	".woff2": "font/woff2",
}

// Built says whether the real page is embedded.
func Built() bool {
	_, err := fs.Stat(embedded, "dist/index.html")
	return err == nil
}

// Handler serves the page under [Base].
func Handler() http.Handler {
	dir := "dist"
	if !Built() {
		dir = "dist-unbuilt"
	}
	build, err := fs.Sub(embedded, dir)
	if err != nil {
		panic(err) // the name is no valid path: cannot be
	}
	h, err := newHandler(build)
	if err != nil {
		panic(fmt.Sprintf("the embedded page: %v", err)) // what is embedded can be read
	}
	return h
}

// handler serves the files of one build, which it has in memory.
type handler struct {
	files map[string]*file
	index *file
}

// file is one file with what its answers need.
type file struct {
	name        string
	contentType string
	etag        string
	content     []byte
	gzipped     func() []byte // compressed when first asked for
}

func newHandler(build fs.FS) (*handler, error) {
	h := &handler{files: map[string]*file{}}
	err := fs.WalkDir(build, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(build, name)
		if err != nil {
			return err
		}
		h.files[name] = newFile(name, content)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if h.index = h.files["index.html"]; h.index == nil {
		return nil, fmt.Errorf("index.html: %w", fs.ErrNotExist)
	}
	return h, nil
}

func newFile(name string, content []byte) *file {
	sum := sha256.Sum256(content)
	f := &file{
		name: name, content: content,
		etag:        `"` + hex.EncodeToString(sum[:16]) + `"`,
		contentType: contentTypes[path.Ext(name)],
	}
	if f.contentType == "" {
		f.contentType = "application/octet-stream"
	}
	f.gzipped = sync.OnceValue(func() []byte { return compress(f.contentType, f.content) })
	return f
}

// compress returns the content compressed, or nil where that saves little.
func compress(contentType string, content []byte) []byte {
	if strings.HasPrefix(contentType, "font/") || contentType == "image/png" || len(content) < 1024 {
		return nil
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is a valid one
	_, _ = z.Write(content)                               // a buffer takes everything
	_ = z.Close()
	return b.Bytes()
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", contentSecurityPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "the page takes GET and HEAD alone", http.StatusMethodNotAllowed)
		return
	}
	name, found := strings.CutPrefix(r.URL.Path, Base)
	if !found {
		http.NotFound(w, r)
		return
	}
	f := h.files[name]
	switch {
	case f != nil && strings.HasPrefix(name, assets):
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	case f != nil:
		header.Set("Cache-Control", "no-cache")
	case strings.HasPrefix(name, assets):
		// A file of another release. The index in its place would be taken for a script.
		header.Set("Cache-Control", "no-store")
		http.NotFound(w, r)
		return
	default:
		// One of the application's own paths: it reads them itself.
		f = h.index
		header.Set("Cache-Control", "no-cache")
	}
	f.serve(w, r)
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", f.contentType)
	content, etag := f.content, f.etag
	if zipped := f.gzipped(); zipped != nil {
		header.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			header.Set("Content-Encoding", "gzip")
			content, etag = zipped, strings.TrimSuffix(etag, `"`)+`-gzip"`
		}
	}
	header.Set("ETag", etag)
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(content))
}

// acceptsGzip says whether the client takes gzip. What browsers send is enough: another weight than none is yes.
func acceptsGzip(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(line, ",") {
			name, weight, _ := strings.Cut(coding, ";")
			if strings.TrimSpace(name) == "gzip" {
				weight = strings.ReplaceAll(weight, " ", "")
				return strings.TrimRight(weight, "0") != "q=" && strings.TrimRight(weight, "0") != "q=0."
			}
		}
	}
	return false
}

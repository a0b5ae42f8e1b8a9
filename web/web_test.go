package web

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	page   = "<!doctype html><title>Quell</title>"
	script = strings.Repeat("console.log('a script that is long enough to be compressed');\n", 50)
)

func testHandler(t *testing.T) http.Handler {
	t.Helper()
	h, err := newHandler(fstest.MapFS{
		"index.html":              {Data: []byte(page)},
		"icon.svg":                {Data: []byte("<svg/>")},
		"assets/index-abc.js":     {Data: []byte(script)},
		"assets/font-abc.woff2":   {Data: []byte(strings.Repeat("w", 5000))},
		"assets/unknown-abc.what": {Data: []byte("?")},
	})
	require.NoError(t, err)
	return h
}

// answer is what the handler said.
type answer struct {
	code   int
	header http.Header
	body   string
}

func get(t *testing.T, h http.Handler, path string, headers ...string) answer {
	t.Helper()
	return request(t, h, http.MethodGet, path, headers...)
}

func request(t *testing.T, h http.Handler, method, path string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func TestApplicationsPathsGetTheIndex(t *testing.T) {
	h := testHandler(t)
	for _, path := range []string{"/ui/", "/ui/index.html", "/ui/jobs", "/ui/jobs/0197?tab=log", "/ui/no/such/page.html"} {
		resp := get(t, h, path)
		assert.Equal(t, http.StatusOK, resp.code, path)
		assert.Equal(t, "text/html; charset=utf-8", resp.header.Get("Content-Type"), path)
		assert.Equal(t, "no-cache", resp.header.Get("Cache-Control"), path)
		assert.Equal(t, page, resp.body, path)
	}
}

func TestAssetsAreCachedForLong(t *testing.T) {
	resp := get(t, testHandler(t), "/ui/assets/index-abc.js")
	assert.Equal(t, http.StatusOK, resp.code)
	assert.Equal(t, "text/javascript; charset=utf-8", resp.header.Get("Content-Type"))
	assert.Equal(t, "public, max-age=31536000, immutable", resp.header.Get("Cache-Control"))
	assert.Equal(t, script, resp.body)
}

func TestMissingAssetIsNotFound(t *testing.T) {
	for _, path := range []string{"/ui/assets/index-old.js", "/ui/assets/", "/elsewhere", "/ui"} {
		resp := get(t, testHandler(t), path)
		assert.Equal(t, http.StatusNotFound, resp.code, path)
	}
}

func TestContentTypesAreOurOwn(t *testing.T) {
	h := testHandler(t)
	for path, want := range map[string]string{
		"/ui/icon.svg":                "image/svg+xml",
		"/ui/assets/font-abc.woff2":   "font/woff2",
		"/ui/assets/unknown-abc.what": "application/octet-stream",
	} {
		assert.Equal(t, want, get(t, h, path).header.Get("Content-Type"), path)
	}
}

func TestCompression(t *testing.T) {
	h := testHandler(t)
	const path = "/ui/assets/index-abc.js"

	resp := get(t, h, path, "Accept-Encoding", "br, gzip;q=0.8")
	assert.Equal(t, "gzip", resp.header.Get("Content-Encoding"))
	assert.Equal(t, "Accept-Encoding", resp.header.Get("Vary"))
	z, err := gzip.NewReader(strings.NewReader(resp.body))
	require.NoError(t, err)
	unzipped, err := io.ReadAll(z)
	require.NoError(t, err)
	assert.Equal(t, script, string(unzipped))

	for _, encodings := range []string{"", "br", "gzip;q=0", "gzip; q=0.000"} {
		plain := get(t, h, path, "Accept-Encoding", encodings)
		assert.Empty(t, plain.header.Get("Content-Encoding"), encodings)
		assert.Equal(t, "Accept-Encoding", plain.header.Get("Vary"), encodings)
		assert.NotEqual(t, resp.header.Get("ETag"), plain.header.Get("ETag"), encodings)
		assert.Equal(t, script, plain.body, encodings)
	}
	assert.Empty(t, get(t, h, "/ui/assets/font-abc.woff2", "Accept-Encoding", "gzip").header.Get("Content-Encoding"))
}

func TestUnchangedIsNotSentAgain(t *testing.T) {
	h := testHandler(t)
	etag := get(t, h, "/ui/").header.Get("ETag")
	require.NotEmpty(t, etag)
	resp := get(t, h, "/ui/", "If-None-Match", etag)
	assert.Equal(t, http.StatusNotModified, resp.code)
	assert.Empty(t, resp.body)
}

func TestEveryAnswerHasThePolicy(t *testing.T) {
	h := testHandler(t)
	for _, resp := range []answer{
		get(t, h, "/ui/"), get(t, h, "/ui/assets/index-abc.js"), get(t, h, "/ui/assets/none.js"),
		request(t, h, http.MethodPost, "/ui/"),
	} {
		policy := resp.header.Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'none'")
		assert.Contains(t, policy, "frame-ancestors 'none'")
		assert.NotContains(t, policy, "unsafe")
		assert.Equal(t, "nosniff", resp.header.Get("X-Content-Type-Options"))
	}
}

func TestOnlyReading(t *testing.T) {
	h := testHandler(t)
	resp := request(t, h, http.MethodPost, "/ui/jobs")
	assert.Equal(t, http.StatusMethodNotAllowed, resp.code)
	assert.Equal(t, "GET, HEAD", resp.header.Get("Allow"))
	resp = request(t, h, http.MethodHead, "/ui/jobs")
	assert.Equal(t, http.StatusOK, resp.code)
	assert.Empty(t, resp.body)
}

func TestABuildWithoutIndexIsNone(t *testing.T) {
	_, err := newHandler(fstest.MapFS{"assets/a.js": {Data: []byte("1")}})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestWithoutNodeThePageSaysHowToGetIt(t *testing.T) {
	build, err := fs.Sub(embedded, "dist-unbuilt")
	require.NoError(t, err)
	h, err := newHandler(build)
	require.NoError(t, err)
	text := get(t, h, "/ui/jobs").body
	assert.Contains(t, text, "make build")
	assert.NotContains(t, text, "<script")
}

// needBuild skips a test that is about the real page.
func needBuild(t *testing.T) {
	t.Helper()
	if !Built() {
		t.Skip("the page is not built: make build, with Node")
	}
}

var (
	link       = regexp.MustCompile(`(?:src|href)="([^"]*)"`)
	inlineCode = regexp.MustCompile(`<script(?:[^>]*)>[^<]|\son[a-z]+="|<style|\sstyle="`)
)

// The policy forbids what is inline and what comes from elsewhere, so that the built page must not have it.
func TestBuiltPageKeepsToItsPolicy(t *testing.T) {
	needBuild(t)
	h := Handler()
	index := get(t, h, "/ui/").body
	assert.NotRegexp(t, inlineCode, index)
	links := link.FindAllStringSubmatch(index, -1)
	require.NotEmpty(t, links)
	for _, match := range links {
		require.True(t, strings.HasPrefix(match[1], Base), match[1])
		assert.Equal(t, http.StatusOK, get(t, h, match[1]).code, match[1])
	}
}

// What the index links to is what a browser loads before it shows anything. The budget for the first load is 400 kB: the
// first page's own chunks and the fonts come on top, and are counted by the browser's test in e2e.
func TestFirstLoadIsSmall(t *testing.T) {
	needBuild(t)
	h := Handler()
	total := 0
	for _, match := range link.FindAllStringSubmatch(get(t, h, "/ui/").body, -1) {
		total += len(get(t, h, match[1], "Accept-Encoding", "gzip").body)
	}
	t.Logf("the first load takes %d bytes, compressed", total)
	assert.Greater(t, total, 10_000, "the links are not found")
	assert.Less(t, total, 300_000)
}

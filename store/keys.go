package store

import (
	"net/url"
	"path"
	"strconv"
	"strings"

	"quell"
)

// keys builds the keys of design.md's table. Parts made from names are
// percent-encoded; --etcd-prefix goes in front.
type keys struct{ prefix string }

func (k keys) templates() string { return k.prefix + "/templates/" }

func (k keys) template(name quell.FQName) string {
	return k.templates() + url.PathEscape(name.String())
}

func (k keys) jobs() string                { return k.prefix + "/jobs/" }
func (k keys) job(id string) string        { return k.jobs() + url.PathEscape(id) + "/" }
func (k keys) spec(id string) string       { return k.job(id) + "spec" }
func (k keys) status(id string) string     { return k.job(id) + "status" }
func (k keys) progress(id string) string   { return k.job(id) + "progress" }
func (k keys) abort(id string) string      { return k.job(id) + "abort" }
func (k keys) output(id string) string     { return k.job(id) + "output" }
func (k keys) resumed(id string) string    { return k.job(id) + "resumed" }
func (k keys) star() string                { return k.jobs() + "*/abort" }
func (k keys) actives() string             { return k.prefix + "/active/" }
func (k keys) active(id string) string     { return k.actives() + url.PathEscape(id) }
func (k keys) aborts() string              { return k.prefix + "/aborts/" }
func (k keys) nodes() string               { return k.prefix + "/nodes/" }
func (k keys) nodeJobs(node string) string { return k.nodes() + url.PathEscape(node) + "/jobs/" }
func (k keys) nodeInfo(node string) string { return k.nodes() + url.PathEscape(node) + "/info" }
func (k keys) leader() string              { return k.prefix + "/scheduler/leader" }

func (k keys) index(node, id string) string { return k.nodeJobs(node) + url.PathEscape(id) }

func (k keys) locks() string { return k.prefix + "/locks/" }

// deviceLocks is below which the locks of a fabric's devices are.
func (k keys) deviceLocks(fabric string) string {
	return k.locks() + "devices/" + url.PathEscape(fabric) + "/"
}

func (k keys) lock(l quell.Lock) string {
	if l.Device == "" {
		return k.locks() + "fabrics/" + url.PathEscape(l.Fabric)
	}
	return k.deviceLocks(l.Fabric) + url.PathEscape(l.Device)
}

// parseLock is the reverse of lock.
func (k keys) parseLock(key string) (quell.Lock, bool) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(key, k.locks()), "/")
	fabric, device, _ := strings.Cut(rest, "/")
	l := quell.Lock{Fabric: unescape(fabric), Device: unescape(device)}
	return l, kind == "fabrics" && device == "" || kind == "devices" && device != ""
}

// starCopy is where the emergency key's value of this revision is kept.
func (k keys) starCopy(revision int64) string {
	return k.aborts() + starPrefix + strconv.FormatInt(revision, 10)
}

const starPrefix = "star-"

// starRevision reads the revision out of the name of an emergency copy.
func starRevision(key string) (int64, bool) {
	text, ok := strings.CutPrefix(path.Base(key), starPrefix)
	if !ok {
		return 0, false
	}
	revision, err := strconv.ParseInt(text, 10, 64)
	return revision, err == nil && revision > 0
}

// name is the last part of a key, decoded.
func name(key string) string { return unescape(key[strings.LastIndexByte(key, '/')+1:]) }

func unescape(part string) string {
	if text, err := url.PathUnescape(part); err == nil {
		return text
	}
	return part
}

// infoNode tells the info key of a node from what else is below /nodes/ and
// returns the node.
func (k keys) infoNode(key string) (string, bool) {
	part, rest, _ := strings.Cut(strings.TrimPrefix(key, k.nodes()), "/")
	return unescape(part), rest == "info"
}

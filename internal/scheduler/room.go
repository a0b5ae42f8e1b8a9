package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"quell"
)

// room is how much the nodes can still take.
type room struct {
	nodes []quell.Node
	load  map[string]int
}

func (t *term) room() *room {
	r := &room{load: map[string]int{}}
	for _, job := range t.active {
		if job.Active.Node != "" {
			r.load[job.Active.Node]++
		}
	}
	for id, s := range t.settled {
		if job := t.active[id]; s.node != "" && job.Active.Node == "" {
			r.load[s.node]++
		}
	}
	for _, n := range t.nodes {
		r.nodes = append(r.nodes, n)
	}
	slices.SortFunc(r.nodes, func(a, b quell.Node) int { return cmp.Compare(a.Info.Node, b.Info.Node) })
	return r
}

// take reserves a place on the node with the largest part of it free, among
// those that the job can run on. Without one it says why.
func (r *room) take(w *wants) (*quell.Node, string) {
	var best *quell.Node
	fit := 0
	free := func(n *quell.Node) float64 {
		return 1 - float64(r.load[n.Info.Node])/float64(max(1, n.Info.Capacity))
	}
	for i := range r.nodes {
		n := &r.nodes[i]
		if !w.fits(n.Info.Labels) {
			continue
		}
		fit++
		if r.load[n.Info.Node] < n.Info.Capacity && (best == nil || free(n) > free(best)) {
			best = n
		}
	}
	switch {
	case best != nil:
		r.load[best.Info.Node]++
		return best, ""
	case len(r.nodes) == 0:
		return nil, "waits for a node: none is registered, start an agent"
	case fit == 0:
		return nil, "waits for a node with the labels " + w.labels() + ": none is registered, start an agent with --label"
	case fit < len(r.nodes):
		return nil, fmt.Sprintf("waits for a node with room: all %d with the labels %s are full", fit, w.labels())
	}
	return nil, fmt.Sprintf("waits for a node with room: all %d are full", len(r.nodes))
}

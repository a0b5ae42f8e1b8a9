package process

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxRounds bounds how often one pass looks for newcomers before it kills what
// it has: a tree that forks faster than it can be stopped is thinned out at
// least, and the next pass goes on.
const maxRounds = 8

// hunt is stop-and-kill: the way to kill processes that no cgroup holds.
//
// One pass stops each process as soon as it is found, so that it forks no
// more, looks again until nothing new turns up, and then kills all of them.
// Passes are repeated by the caller until it has its proof, which a hunt itself
// never is.
type hunt struct {
	// find visits the living processes to be killed that are not in seen.
	find func(seen map[key]bool, visit func(procStat)) error
	// ours says, for a process that is pinned, whether it still is what find took
	// it for. Nothing is signalled without that.
	ours func(procStat) bool
	// killed is what earlier passes have sent SIGKILL to.
	killed map[key]bool
}

func newHunt(find func(map[key]bool, func(procStat)) error, ours func(procStat) bool) *hunt {
	return &hunt{find: find, ours: ours, killed: make(map[key]bool)}
}

// pass is one pass. It returns all that it found alive, and how many of them it
// was the first to kill: zero means that the pass changed nothing.
func (h *hunt) pass() (found []procStat, fresh int, err error) {
	seen := make(map[key]bool)
	for range maxRounds {
		before := len(found)
		err = h.find(seen, func(p procStat) {
			seen[p.key()] = true
			if !h.killed[p.key()] && errors.Is(h.signal(p, unix.SIGSTOP), unix.ESRCH) {
				return // gone, or not ours after all
			}
			found = append(found, p)
		})
		if err != nil || len(found) == before {
			break
		}
	}
	for _, p := range found {
		if h.killed[p.key()] {
			continue
		}
		switch serr := h.signal(p, unix.SIGKILL); {
		case serr == nil:
			h.killed[p.key()] = true
			fresh++
		case !errors.Is(serr, unix.ESRCH):
			err = errors.Join(err, serr)
		}
	}
	return found, fresh, err
}

// signal sends sig to exactly this process: a pidfd pins it, and only then is
// it checked again, so that a pid in use again is never hit.
func (h *hunt) signal(p procStat, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		fd = -1 // an old kernel or a filter; the check comes as late as it can
	} else if err != nil {
		return fmt.Errorf("process %d (%s): %w", p.pid, p.comm, err)
	}
	if fd >= 0 {
		defer unix.Close(fd)
	}
	if !h.ours(p) {
		return fmt.Errorf("process %d (%s): %w", p.pid, p.comm, unix.ESRCH)
	}
	if fd >= 0 {
		err = unix.PidfdSendSignal(fd, sig, nil, 0)
	} else {
		err = unix.Kill(p.pid, sig)
	}
	if err != nil {
		return fmt.Errorf("process %d (%s): %s: %w", p.pid, p.comm, unix.SignalName(sig), err)
	}
	return nil
}

// descendants hunts what descends from the calling process.
func descendants(p procfs) *hunt {
	d := &family{procs: p, root: os.Getpid()}
	return newHunt(d.find, d.ours)
}

// family knows which processes descend from root. It is built anew for each
// pass, so that what it knows is never older than that.
type family struct {
	procs   procfs
	root    int
	members map[int]uint64 // pid to start time; root is a member
	passes  int
	noLists bool // the kernel has no lists of children
}

func (f *family) find(seen map[key]bool, visit func(procStat)) error {
	if len(seen) == 0 {
		f.members = map[int]uint64{f.root: 0}
		f.passes++
	}
	if !f.noLists {
		f.noLists = f.descend(visit) != nil
		if len(f.members) > 1 {
			return nil
		}
	}
	// There are no lists of children, or they showed none. Descendants have
	// larger pids, unless the pids have started again from below: so a first pass
	// over these alone finds all of most trees in a fraction of the time.
	if f.passes == 1 {
		err := f.scan(f.root, visit)
		if err != nil || len(f.members) > 1 {
			return err
		}
	}
	return f.scan(0, visit)
}

// descend walks down the kernel's lists of children.
func (f *family) descend(visit func(procStat)) error {
	for queue := []int{f.root}; len(queue) > 0; queue = queue[1:] {
		children, err := f.procs.children(queue[0])
		if err != nil {
			if queue[0] == f.root {
				return err
			}
			continue // it has ended meanwhile, and its children are root's now
		}
		for _, pid := range children {
			if st, err := f.procs.stat(pid); err == nil {
				f.add(st, visit)
			}
			if _, member := f.members[pid]; member {
				queue = append(queue, pid)
			}
		}
	}
	return nil
}

// scan finds members by their parent among all processes above a pid. A child may stand
// before its parent in /proc; the next round of the pass finds it.
func (f *family) scan(above int, visit func(procStat)) error {
	pids, err := f.procs.pids()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if pid <= above {
			continue
		}
		if st, err := f.procs.stat(pid); err == nil {
			f.add(st, visit)
		}
	}
	return nil
}

// add takes in a living process whose parent is a member, and visits it at
// once: the shorter the time between finding and stopping, the fewer escape.
func (f *family) add(st procStat, visit func(procStat)) {
	if start, known := f.members[st.pid]; known && start == st.start {
		return
	}
	if _, child := f.members[st.ppid]; !child || st.pid == f.root || !f.ours(st) {
		return
	}
	f.members[st.pid] = st.start
	visit(st)
}

// ours reads the process anew and its parent after it: the parent being a
// member still proves that the child was its child, not that of a later
// process with the same pid.
func (f *family) ours(st procStat) bool {
	now, err := f.procs.stat(st.pid)
	if err != nil || now.start != st.start || now.dead() {
		return false
	}
	if now.ppid == f.root {
		return true
	}
	start, known := f.members[now.ppid]
	if !known {
		return false
	}
	parent, err := f.procs.stat(now.ppid)
	return err == nil && parent.start == start
}

// marked hunts processes that were started with a variable in their
// environment, no earlier than since (in clock ticks since boot).
//
// A process shows no environment while it dies, and for a moment while it
// execs. So what has been killed counts until it is seen dead, and one pass that
// finds nothing says little: let another one agree.
func marked(p procfs, variable string, since uint64) *hunt {
	own := os.Getpid()
	var h *hunt
	is := func(st procStat) bool {
		now, err := p.stat(st.pid)
		return err == nil && now.start == st.start && now.start >= since && now.pid != own &&
			!now.dead() && (h.killed[now.key()] || p.hasEnv(now.pid, variable))
	}
	find := func(seen map[key]bool, visit func(procStat)) error {
		pids, err := p.pids()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if st, err := p.stat(pid); err == nil && !seen[st.key()] && is(st) {
				visit(st)
			}
		}
		return nil
	}
	h = newHunt(find, is)
	return h
}

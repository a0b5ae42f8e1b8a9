package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"quell"
	"quell/internal/process"
)

// disown kills what is left on this node of the job and waits for its death.
// It writes nothing to the store: the job is somebody else's, or final.
func (r *runner) disown(ctx context.Context) error {
	if r.cur != nil {
		r.cur.process.Kill(string(quell.CauseDisown))
		if err := waitDead(ctx, r.cur.process); err != nil {
			return err
		}
		r.cur = nil
	}
	entries, err := os.ReadDir(filepath.Join(RunsDir(r.o.DataDir), r.id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the job's runs: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		p, err := r.o.Processes.Adopt(r.id, e.Name())
		if errors.Is(err, process.ErrNotClaimed) {
			// A shim of an agent that died may yet come.
			if _, err = r.o.Processes.Seal(r.id, e.Name()); err == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("take over run %s: %w", e.Name(), err)
		}
		p.Kill(string(quell.CauseDisown))
		if err := waitDead(ctx, p); err != nil {
			return err
		}
	}
	r.cleanUp()
	return nil
}

func waitDead(ctx context.Context, p *process.Run) error {
	defer p.Close()
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ownPrivateFolder says whether path is a folder of this user's that nobody
// else can look into.
func ownPrivateFolder(path string) (bool, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && info.Mode().Perm() == 0o700 && int(stat.Uid) == os.Geteuid(), nil
}

// Package process starts, adopts and kills process trees.
//
// A run is one process tree: a command and everything that descends from it.
// Each run has a folder of its own, <Root>/<job>/<run>, and a shim of its own
// (cmd/quell-shim, whose work is RunShim), which outlives the process that
// started it. The folder is the truth about the run; see DESIGN.md.
//
// The package promises that
//
//   - a run is started at most once: the shim claims the folder on disk before
//     it starts the command, and a claim is never given back;
//   - when a run is Done, nothing of its tree is alive, and Exit.Proof says how
//     that is known. A tree that cannot be killed keeps its run from being Done;
//   - losing the supervising process kills nothing and loses nothing: Adopt
//     finds every run again.
//
// It refuses to know what the commands are, what jobs are, and where they are
// recorded: job and run are no more than two names here.
package process

// Command runtests runs the tests of the packages that it is given, with the race detector, and then each of their fuzz
// targets for a short while. It shows a line a package and the output of whatever fails, and closes with the line
// "N passed, N failed", which counts every test, subtest and fuzz target. It fails when one of them did.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	fuzzTime := flag.Duration("fuzztime", 3*time.Second, "how long each fuzz target runs; 0 runs none")
	run := flag.String("run", "", "run only the tests that match, as in go test")
	timeout := flag.Duration("timeout", 15*time.Minute, "the time that a package's tests may take")
	flag.Parse()
	packages := flag.Args()
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	s := newSummary(os.Stdout)
	// Never from the cache: many of the tests depend on programs that the cache knows nothing of.
	args := []string{"test", "-race", "-count=1", "-json", "-timeout=" + timeout.String()}
	if *run != "" {
		args = append(args, "-run="+*run)
	}
	if err := s.test(ctx, append(args, packages...)); err != nil {
		s.note("go test", err)
	}
	if *fuzzTime > 0 && ctx.Err() == nil {
		s.fuzz(ctx, *fuzzTime)
	}
	if ctx.Err() != nil {
		s.note("the run", errors.New("interrupted"))
	}
	if s.close(); s.failed > 0 {
		stop()
		os.Exit(1)
	}
}

// event is what go test -json emits.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

type target struct{ pkg, name string }

// summary counts, and shows what failed.
type summary struct {
	out            io.Writer
	passed, failed int
	skipped        []string
	targets        []target
	failures       []string
	output         map[target]*strings.Builder
	failedIn       map[string]int // failed tests by package
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, output: map[target]*strings.Builder{}, failedIn: map[string]int{}}
}

// test runs go with the arguments and takes in what it reports. It returns an error when go failed without
// having reported why.
func (s *summary) test(ctx context.Context, args []string) error {
	before := s.failed
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = s.out
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.read(stdout)
	if err := cmd.Wait(); err != nil && s.failed == before {
		return err
	}
	return nil
}

func (s *summary) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		var e event
		if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
			s.apply(e)
		} else {
			fmt.Fprint(s.out, line)
		}
		if err != nil {
			return
		}
	}
}

func (s *summary) apply(e event) {
	key := target{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "run":
		if strings.HasPrefix(e.Test, "Fuzz") && !strings.Contains(e.Test, "/") {
			s.targets = append(s.targets, key)
		}
	case "output":
		if s.output[key] == nil {
			s.output[key] = &strings.Builder{}
		}
		s.output[key].WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e)
		} else {
			s.endTest(e)
		}
		delete(s.output, key)
	}
}

func (s *summary) endTest(e event) {
	name := e.Package + " " + e.Test
	switch e.Action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped = append(s.skipped, name)
	case "fail":
		s.failedIn[e.Package]++
		s.fail(name, s.text(e))
	}
}

func (s *summary) endPackage(e event) {
	text := s.text(e)
	switch {
	case e.Action == "pass":
		fmt.Fprintf(s.out, "ok  \t%s\t%.1fs\n", e.Package, e.Elapsed)
	case e.Action == "skip":
		fmt.Fprintf(s.out, "?   \t%s\t[no test files]\n", e.Package)
	case s.failedIn[e.Package] > 0:
		fmt.Fprintf(s.out, "FAIL\t%s\t%.1fs\n", e.Package, e.Elapsed)
	default:
		// It did not build, or died, or TestMain was not content: no test of it tells.
		fmt.Fprintf(s.out, "FAIL\t%s\t%.1fs\n", e.Package, e.Elapsed)
		for key, b := range s.output {
			// A test that was running when the package died.
			if key.pkg == e.Package && key.name != "" {
				text += b.String()
			}
		}
		s.fail(e.Package, text)
	}
}

func (s *summary) text(e event) string {
	if b := s.output[target{e.Package, e.Test}]; b != nil {
		return b.String()
	}
	return ""
}

func (s *summary) fail(name, text string) {
	s.failed++
	s.failures = append(s.failures, name)
	fmt.Fprintf(s.out, "--- FAIL: %s\n%s", name, text)
	if text != "" && !strings.HasSuffix(text, "\n") {
		fmt.Fprintln(s.out)
	}
}

// note counts a failure that no test reported.
func (s *summary) note(name string, err error) { s.fail(name, err.Error()) }

// fuzz runs the fuzz targets whose seeds the tests ran.
func (s *summary) fuzz(ctx context.Context, d time.Duration) {
	slices.SortFunc(s.targets, func(a, b target) int { return strings.Compare(a.pkg+" "+a.name, b.pkg+" "+b.name) })
	for _, t := range slices.Compact(s.targets) {
		if ctx.Err() != nil {
			return
		}
		start := time.Now()
		out, err := fuzzOnce(ctx, t, d)
		if err != nil && timeLimitRace(out) {
			out, err = fuzzOnce(ctx, t, d)
		}
		if err != nil {
			s.fail("fuzzing "+t.pkg+" "+t.name, string(out))
			continue
		}
		s.passed++
		fmt.Fprintf(s.out, "fuzz\t%s %s\t%.1fs\n", t.pkg, t.name, time.Since(start).Seconds())
	}
}

func fuzzOnce(ctx context.Context, t target, d time.Duration) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+d.String(), t.pkg)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.CombinedOutput()
}

// timeLimitRace tells a finding from the go command's own race at the end of
// -fuzztime, in which a worker reports the time limit as its failure. A
// finding always names the input that it wrote down.
func timeLimitRace(out []byte) bool {
	return bytes.Contains(out, []byte("context deadline exceeded")) && !bytes.Contains(out, []byte("Failing input written"))
}

func (s *summary) close() {
	fmt.Fprintln(s.out)
	for _, name := range s.skipped {
		fmt.Fprintln(s.out, "skipped:", name)
	}
	for _, name := range s.failures {
		fmt.Fprintln(s.out, "failed:", name)
	}
	fmt.Fprintf(s.out, "%d passed, %d failed\n", s.passed, s.failed)
}

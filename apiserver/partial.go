package apiserver

import (
	"fmt"

	"quell"
)

// partialError says that some of a request may have been written and some
// not. Its code is that of its cause, CodeUnknown.
type partialError struct {
	err        error
	results    []result
	inDoubt    []string
	notWritten []string
}

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }

// newPartialError makes one error of what became of each job. Where nothing
// was written and nothing is in doubt, it is the store's own error: the whole
// request may be repeated then.
func newPartialError(ids []string, attempts []attempt) error {
	e := &partialError{}
	var first, doubt error
	wrote := false
	for i, a := range attempts {
		switch {
		case !a.tried:
			e.notWritten = append(e.notWritten, ids[i])
		case a.err == nil:
			e.results = append(e.results, a.result)
			wrote = wrote || a.result.Outcome == accepted
		case nothingWritten(quell.CodeOf(a.err)):
			first = a.err
			e.notWritten = append(e.notWritten, ids[i])
		default:
			doubt = a.err
			e.inDoubt = append(e.inDoubt, ids[i])
		}
	}
	if doubt == nil && !wrote {
		return first
	}
	cause := first
	if doubt != nil {
		cause = doubt
	}
	e.err = &quell.Error{
		Code: quell.CodeUnknown,
		Message: fmt.Sprintf("the abort was carried out in part: %d jobs are answered in results, for %d (job_execution_ids) it is not known, "+
			"%d (not_written) got none: repeat the request for the last two: %s",
			len(e.results), len(e.inDoubt), len(e.notWritten), quell.MessageOf(cause)),
		Err: cause,
	}
	return e
}

// nothingWritten says whether an error of this code proves that the store
// wrote nothing.
func nothingWritten(code quell.Code) bool {
	switch code {
	case quell.CodeUnknown, quell.CodeInternal:
		return false
	}
	return true
}

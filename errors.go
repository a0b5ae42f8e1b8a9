package quell

import (
	"errors"
	"fmt"
)

// Code says what kind of error it is, for programs. The API server has the
// one table from code to HTTP status.
type Code string

// The codes.
const (
	CodeInvalid     Code = "invalid"      // the request or file is wrong
	CodeForbidden   Code = "forbidden"    // understood, and refused by configuration
	CodeNotFound    Code = "not_found"    // the named thing does not exist
	CodeConflict    Code = "conflict"     // the thing is not in a state for this
	CodeTooLarge    Code = "too_large"    // over a documented size
	CodeUnavailable Code = "unavailable"  // etcd or a node is out of reach; nothing was written
	CodeUnknown     Code = "unknown"      // etcd did not answer; it may have been written
	CodeNoSpace     Code = "no_space"     // etcd is full
	CodeStale       Code = "stale"        // what the transition relied on has changed
	CodeNotOwner    Code = "not_owner"    // the job belongs to somebody else now
	CodeInternal    Code = "internal"     // a fault of Quell
	CodeUnsupported Code = "unsupported"  // known, and not offered by this version
	CodeAlready     Code = "already_runs" // another instance is in the way
)

// Error is an error with a code. Its message is fit for a user to read: it
// names the thing, what was wrong with it and, where it helps, what to do.
type Error struct {
	Code    Code
	Message string
	Err     error // the cause; where it is not part of Message, it is for the log alone

	told bool // Err is part of Message
}

func (e *Error) Error() string {
	if e.Err == nil || e.told {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [*Error] whose message is formatted like fmt.Errorf's. A
// %w verb makes its operand the cause, which the user reads too.
func Errorf(code Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	cause := errors.Unwrap(err)
	if _, several := err.(interface{ Unwrap() []error }); several {
		cause = err
	}
	return &Error{Code: code, Message: err.Error(), Err: cause, told: true}
}

// CodeOf returns the code of the first [*Error] in err's chain, CodeInternal
// when there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// MessageOf returns the text of err that a user may read: the message of the
// first [*Error] in its chain. Anything else is internal and is not told. It
// is "" for nil.
func MessageOf(err error) string {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "an internal error; the log of the API server has the details"
}

package quell_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"

	"quell"
)

func TestErrorf(t *testing.T) {
	err := quell.Errorf(quell.CodeConflict, "job %d cannot be read: %w", 7, io.EOF)
	assert.Equal(t, "job 7 cannot be read: EOF", err.Error(), "the cause is told once")
	assert.Equal(t, quell.CodeConflict, quell.CodeOf(err))
	assert.Equal(t, "job 7 cannot be read: EOF", quell.MessageOf(err))
	assert.ErrorIs(t, err, io.EOF)

	several := quell.Errorf(quell.CodeInvalid, "%w and %w", io.EOF, fs.ErrExist)
	assert.Equal(t, "EOF and file already exists", several.Error())
	assert.ErrorIs(t, several, io.EOF)
	assert.ErrorIs(t, several, fs.ErrExist)

	plain := quell.Errorf(quell.CodeInvalid, "no cause")
	assert.NoError(t, errors.Unwrap(plain))
	assert.Equal(t, "no cause", plain.Error())
}

func TestCodesAndMessages(t *testing.T) {
	hidden := &quell.Error{Code: quell.CodeUnavailable, Message: "etcd is out of reach", Err: errors.New("dial 10.0.0.1")}
	for _, tt := range []struct {
		name          string
		err           error
		code          quell.Code
		message, logs string
	}{
		{"the cause is for the log", hidden, quell.CodeUnavailable, "etcd is out of reach", "etcd is out of reach: dial 10.0.0.1"},
		{"wrapped", fmt.Errorf("place job: %w", hidden), quell.CodeUnavailable, "etcd is out of reach", "place job: etcd is out of reach: dial 10.0.0.1"},
		{"the first code counts", quell.Errorf(quell.CodeInvalid, "no: %w", quell.Errorf(quell.CodeStale, "old")), quell.CodeInvalid, "no: old", "no: old"},
		{"any other error", io.EOF, quell.CodeInternal, "an internal error; the log of the API server has the details", "EOF"},
	} {
		assert.Equal(t, tt.code, quell.CodeOf(tt.err), tt.name)
		assert.Equal(t, tt.message, quell.MessageOf(tt.err), tt.name)
		assert.Equal(t, tt.logs, tt.err.Error(), tt.name)
	}
	assert.Empty(t, quell.CodeOf(nil))
	assert.Empty(t, quell.MessageOf(nil))
}

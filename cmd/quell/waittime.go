package main

import (
	"errors"
	"time"
)

// waitTime is the value of --wait, whose time may be left out.
type waitTime time.Duration

const defaultWait = 30 * time.Second

// Set reads the time; the flag package gives "true" where there is none.
func (w *waitTime) Set(text string) error {
	if text == "true" {
		*w = waitTime(defaultWait)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return errors.New("give a time above zero such as 30s")
	}
	*w = waitTime(d)
	return nil
}

func (w *waitTime) String() string {
	if w == nil || *w == 0 {
		return ""
	}
	return time.Duration(*w).String()
}

// IsBoolFlag tells the flag package that the value may be left out.
func (w *waitTime) IsBoolFlag() bool { return true }

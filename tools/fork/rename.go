package main

import (
	"errors"
	"io"
)

func rename(root string, args []string, out io.Writer) error { return errors.New("not yet") }

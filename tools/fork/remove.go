package main

import (
	"errors"
	"io"
)

func remove(root string, args []string, out io.Writer) error { return errors.New("not yet") }

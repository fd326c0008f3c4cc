package main

import (
	"errors"
	"io"
)

func module(root string, args []string, out io.Writer) error   { return errors.New("not yet") }
func resource(root string, args []string, out io.Writer) error { return errors.New("not yet") }

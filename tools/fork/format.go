package main

import (
	"bytes"
	"go/format"
	"path"
	"strings"
	"unicode/utf8"
)

// formatted puts right what a longer or shorter word has moved: the order of imports and the columns of Go, the columns of a table in
// Markdown. What was not in order before stays as somebody wrote it.
func formatted(name string, before, after []byte) []byte {
	switch path.Ext(name) {
	case ".go":
		is, err := format.Source(after)
		if err != nil || bytes.Equal(is, after) { // as most are, which saves looking at what was
			return after
		}
		if was, err := format.Source(before); err == nil && bytes.Equal(was, before) {
			return is
		}
	case ".md":
		return tables(before, after)
	}
	return after
}

// tables aligns the tables of a page that were aligned before. Both have the same lines, but for words in them.
func tables(before, after []byte) []byte {
	was, is := strings.SplitAfter(string(before), "\n"), strings.SplitAfter(string(after), "\n")
	if len(was) != len(is) {
		return after
	}
	for from := 0; from < len(is); from++ {
		to := from
		for to < len(is) && strings.HasPrefix(is[to], "|") {
			to++
		}
		if to > from && aligned(was[from:to]) && !aligned(is[from:to]) {
			align(is[from:to])
		}
		from = max(from, to-1)
	}
	return []byte(strings.Join(is, ""))
}

// cells are what stands between the bars of a line.
func cells(line string) []string {
	const escaped = "\x00"
	parts := strings.Split(strings.ReplaceAll(strings.TrimSuffix(line, "\n"), `\|`, escaped), "|")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(p, escaped, `\|`)
	}
	return parts
}

func aligned(table []string) bool {
	for _, line := range table {
		first, these := cells(table[0]), cells(line)
		if len(first) != len(these) {
			return false
		}
		for i := range these {
			if utf8.RuneCountInString(these[i]) != utf8.RuneCountInString(first[i]) {
				return false
			}
		}
	}
	return true
}

// align pads every cell to the widest of its column and one space.
func align(table []string) {
	var widths []int
	for _, line := range table {
		for i, c := range cells(line) {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(strings.TrimRight(c, " ")))
		}
	}
	for n, line := range table {
		parts := cells(line)
		for i, c := range parts[:len(parts)-1] { // nothing stands after the last bar
			if c = strings.TrimRight(c, " "); i > 0 {
				c += strings.Repeat(" ", widths[i]+1-utf8.RuneCountInString(c))
			}
			parts[i] = c
		}
		table[n] = strings.Join(parts, "|") + line[len(strings.TrimSuffix(line, "\n")):]
	}
}
